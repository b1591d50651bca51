"""Wrapped agents learn from feedback, in any environment, and never hide an error behind HOLD."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from config.meta_learning_config import create_meta_learning_config
from config.settings import MetaLearningSettings
from kernels.events import AGENTS
from strategy.agents.wrappers import AgentError
from strategy.learning.agent_wrappers import (
    Answer,
    BaseAgentWrapper,
    Feedback,
    LearnerWrapper,
    PPOAgentWrapper,
    Practice,
    RainbowAgentWrapper,
    State,
    walks_of,
)
from strategy.learning.ensemble_wrapper import AgentEnsembleWrapper
from strategy.learning.learner import LearnerOptions
from strategy.learning.ppo_learner import PpoLearner, PpoOptions
from strategy.learning.replay_ring import Replay, Spaces
from strategy.learning.wrapper_factory import (
    STANDARD_WRAPPERS,
    AgentWrapperFactory,
    create_agent,
    create_agent_wrappers_from_config,
)

STATES = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]], np.float32)
"""In the first state action 2 earns 1, in the second action 0; all else loses 1."""

SHORT = PpoOptions(walkers=1, horizon=64, epochs=8, minibatch=32, trace=0.9, entropy=0.0, rate=5e-3)


def wrapped(name: str, seed: int = 3, updates: int = 150) -> LearnerWrapper:
    """Return a small agent for the two states."""
    options = LearnerOptions(
        updates=updates if name != "ppo" else 12,
        batch=32,
        discount=0.5,
        rate=5e-3,
        rate_end=1e-3,
        huber=1.0,
        smoothing=0.05,
        net_dims=(16, 16),
    )
    agent = create_agent(
        name, 3, 3, options=options, return_scale=2.0, replay_capacity=500, rollout=SHORT, seed=seed
    )
    practice = Practice(
        warm_steps=32, updates_per_step=0.5, exploration_end=0.3, exploration_steps=200
    )
    kind = STANDARD_WRAPPERS[name]
    assert issubclass(kind, LearnerWrapper)
    return kind(agent, name, practice, seed=seed)


def live(wrapper: BaseAgentWrapper, steps: int, seed: int = 5) -> list[Feedback]:
    """Let an agent act and learn: states come at random, ten to an episode."""
    generator = np.random.default_rng(seed)
    place, found = 0, []
    for step in range(steps):
        action = wrapper.explore(STATES[place])
        reward = 1.0 if action == (2, 0)[place] else -1.0
        following = int(generator.integers(2))
        done = step % 10 == 9
        found.append(
            wrapper.update_with_feedback(STATES[place], action, reward, STATES[following], done)
        )
        place = following
    return found


@pytest.mark.parametrize("name", AGENTS)
def test_feedback_teaches(name: str) -> None:
    """After a few hundred steps every agent knows what to do, and says so with confidence."""
    wrapper = wrapped(name)
    found = live(wrapper, 300 if name != "ppo" else 768)
    assert all(feedback.success for feedback in found)
    losses = [feedback.loss for feedback in found if feedback.loss is not None]
    assert len(losses) > 10
    assert np.isfinite(losses).all()
    for state, wanted in zip(STATES, (2, 0), strict=True):
        action, confidence, details = wrapper.get_action_with_confidence(state)
        assert action == wanted
        assert 0.1 < confidence <= 1.0
        assert int(np.argmax(details["preferences"])) == wanted


@pytest.mark.parametrize("name", ["d3qn", "ppo", "rainbow"])
def test_a_restored_wrapper_goes_on_to_the_bit(name: str) -> None:
    """Replay, counts and noise are part of a snapshot; asking changes nothing."""
    whole, other = wrapped(name), wrapped(name, seed=9)
    live(whole, 130)
    other.restore(whole.snapshot())
    for _ in range(3):
        whole.get_action_with_confidence(STATES[0])
    assert live(whole, 70, seed=8) == live(other, 70, seed=8)
    for name_, tensor in whole.snapshot().tensors.items():
        assert torch.equal(tensor, other.snapshot().tensors[name_]), name_


def test_errors_are_never_answered_with_hold() -> None:
    """A state that is no number, of another width, or a broken network raise AgentError."""
    wrapper = wrapped("d3qn")
    with pytest.raises(AgentError, match="no finite row"):
        wrapper.get_action_with_confidence(np.array([1.0, np.nan, 0.0], np.float32))
    with pytest.raises(AgentError, match="refuses"):
        wrapper.get_action_with_confidence(np.zeros(7, np.float32))
    with torch.no_grad():
        next(iter(wrapper.agent.net.parameters())).fill_(float("nan"))
    with pytest.raises(AgentError, match="not finite"):
        wrapper.get_action_with_confidence(STATES[0])
    with pytest.raises(ValueError, match="action 3"):
        wrapped("d3qn").update_with_feedback(STATES[0], 3, 0.0, STATES[1], False)


def test_returns_over_steps_stop_at_an_end() -> None:
    """Three steps add up; an end counts nothing behind it, a cut goes on from where it was left."""
    replay = Replay(Spaces(input_count=1, action_count=2), capacity=8, steps=3, discount=0.5)
    rows = [np.array([float(place)], np.float32) for place in range(6)]
    for place in range(3):
        replay.add(rows[place], 1, 1.0, rows[place + 1], is_ended=False)
    replay.add(rows[3], 0, 4.0, rows[4], is_ended=True)
    replay.add(rows[4], 0, 8.0, rows[5], is_ended=False, is_cut=True)
    tables = replay.tables()
    np.testing.assert_allclose(tables["reward"], [1.75, 2.5, 3.0, 4.0, 8.0])
    np.testing.assert_allclose(tables["discount"], [0.125, 0.0, 0.0, 0.0, 0.5])
    np.testing.assert_array_equal(tables["next"][:, 0], [3.0, 4.0, 4.0, 4.0, 5.0])


def test_rollouts_are_estimated_as_by_hand() -> None:
    """Advantages of a rollout with an end and a cut equal the sums written out."""
    options = LearnerOptions(updates=4, discount=0.9, net_dims=(8, 8))
    agent = create_agent("ppo", 3, 2, options=options, rollout=SHORT, seed=1)
    assert isinstance(agent, PpoLearner)
    replay = Replay(Spaces(input_count=3, action_count=2), capacity=5, steps=1, discount=0.9)
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(8, 3)).astype(np.float32)
    moves = [(0, 1, False, False), (1, 2, True, False), (3, 4, False, True), (5, 6, False, False)]
    for number, (begin, end, is_ended, is_cut) in enumerate(moves):
        replay.add(rows[begin], 1, float(number), rows[end], is_ended=is_ended, is_cut=is_cut)
    with torch.no_grad():
        value = agent.net.critic(torch.from_numpy(rows)).squeeze(1).tolist()
    walks = walks_of(agent, replay)
    surprise = [
        0.0 + 0.9 * value[1] - value[0],
        1.0 - value[1],
        2.0 + 0.9 * value[4] - value[3],
        3.0 + 0.9 * value[6] - value[5],
    ]
    wanted = [surprise[0] + 0.9 * SHORT.trace * surprise[1], *surprise[1:]]
    torch.testing.assert_close(walks.advantage_N, torch.tensor(wanted), atol=1e-5, rtol=1e-5)


def test_rainbow_explores_by_its_noise() -> None:
    """Fresh noise moves its choice where it is torn; its answer never does."""
    wrapper = wrapped("rainbow")
    assert isinstance(wrapper, RainbowAgentWrapper)
    live(wrapper, 40)
    with torch.no_grad():
        for name, parameter in wrapper.agent.net.named_parameters():
            if "sigma" in name:
                parameter.fill_(2.0)
    assert len({wrapper.explore(STATES[0]) for _ in range(60)}) > 1
    assert len({wrapper.get_action_with_confidence(STATES[0]).action for _ in range(10)}) == 1


class Stubborn(BaseAgentWrapper):
    """Always says the same, or fails."""

    def get_action_with_confidence(self, state: State) -> Answer:
        """Return the agent, which is an action, or raise it."""
        if isinstance(self.agent, str):
            raise AgentError(self.name, self.agent)
        return Answer(int(self.agent), 1.0, {})

    def update_with_feedback(
        self,
        state: State,
        action: int,
        reward: float,
        next_state: State,
        done: bool,
        truncated: bool = False,
    ) -> Feedback:
        """Learn nothing."""
        return Feedback(True, None, 0)


def test_the_factory_knows_its_names() -> None:
    """Standard names, registered ones, and an error for all others."""
    agents = {name: create_agent(name, 3, seed=1) for name in ("d3qn", "ppo", "rainbow")}
    wrappers = AgentWrapperFactory.create_multiple_wrappers(agents)
    assert isinstance(wrappers["ppo"], PPOAgentWrapper)
    with pytest.raises(ValueError, match="no wrapper 'stubborn'"):
        AgentWrapperFactory.create_wrapper(2, "stubborn")
    AgentWrapperFactory.register_wrapper("stubborn", Stubborn)
    AgentWrapperFactory.register_wrapper("stubborn", Stubborn)
    try:
        made = AgentWrapperFactory.create_wrapper(2, "stubborn")
        assert made.explore(STATES[0]) == 2
        with pytest.raises(ValueError, match="taken"):
            AgentWrapperFactory.register_wrapper("stubborn", PPOAgentWrapper)
    finally:
        AgentWrapperFactory.unregister_wrapper("stubborn")
    for wrong in ("d3qn", "ensemble"):
        with pytest.raises(ValueError, match="taken"):
            AgentWrapperFactory.register_wrapper(wrong, Stubborn)
        with pytest.raises(ValueError, match="standard"):
            AgentWrapperFactory.unregister_wrapper(wrong)
    with pytest.raises(ValueError, match="no BaseAgentWrapper"):
        AgentWrapperFactory.register_wrapper("other", int)  # type: ignore[arg-type]  # a planted mistake
    with pytest.raises(KeyError, match="no agent"):
        create_agent("dreamer", 3)


def test_a_configuration_makes_its_agents() -> None:
    """Switched off is off; widths, sizes and seeds are those asked for."""
    config = create_meta_learning_config(
        "balanced", {"state_dim": 12}, {"agents": {"ppo": False, "rainbow": False}}
    )
    wrappers = create_agent_wrappers_from_config(config, (24, 8), 12, 3)
    assert list(wrappers) == ["d3qn", "double_dqn", "twin_d3qn"]
    for wrapper in wrappers.values():
        widths = {tensor.shape for tensor in wrapper.agent.net.parameters()}
        assert torch.Size([24, 12]) in widths
        assert torch.Size([8, 24]) in widths
        assert len(wrapper.get_action_with_confidence(np.zeros(12, np.float32)).info) == 2
    again = create_agent_wrappers_from_config(config, (24, 8), 12, 3)["d3qn"]
    state = np.ones(12, np.float32)
    first = wrappers["d3qn"].get_action_with_confidence(state).info["preferences"]
    np.testing.assert_array_equal(
        first, again.get_action_with_confidence(state).info["preferences"]
    )


def test_an_ensemble_votes_by_weight_and_learns_who_earns() -> None:
    """The majority decides at first; whoever earns gets weight up to the cap, and then the say."""
    members = {name: Stubborn(action, name) for name, action in (("a", 2), ("b", 0), ("c", 0))}
    settings = MetaLearningSettings(max_agent_weight=0.6, min_diversification_agents=2)
    ensemble = AgentEnsembleWrapper(members, "ensemble", settings, year_bars=8_766.0)
    assert ensemble.get_action_with_confidence(STATES[0]).action == 0
    posterior_K = np.full(7, 1 / 7)
    generator = np.random.default_rng(1)
    for _ in range(400):
        ensemble.weigh(posterior_K)
        ensemble.learn_outcomes(np.array([1.0, -1.0, -1.0]) + generator.normal(size=3))
    weights = ensemble.weigh(posterior_K)
    assert weights["a"] == pytest.approx(0.6, abs=1e-3)
    answer = ensemble.get_action_with_confidence(STATES[0])
    assert answer.action == 2
    assert answer.info["votes"] == {"a": 2, "b": 0, "c": 0}
    other = AgentEnsembleWrapper(members, "ensemble", settings)
    other.restore(ensemble.snapshot())
    assert other.weights == ensemble.weights
    plain = AgentEnsembleWrapper(
        members, "ensemble", settings.model_copy(update={"meta_learning_enabled": False})
    )
    plain.weigh(posterior_K)
    plain.learn_outcomes(np.array([9.0, -9.0, -9.0]))
    assert set(plain.weigh(posterior_K).values()) == {1 / 3}


def test_an_ensemble_without_enough_voices_is_an_error() -> None:
    """One failing member is named, two too many raise; HOLD is nobody's answer."""
    settings = MetaLearningSettings(min_diversification_agents=2)
    members = {"a": Stubborn(2, "a"), "b": Stubborn("asleep", "b"), "c": Stubborn(2, "c")}
    answer = AgentEnsembleWrapper(members, "e", settings).get_action_with_confidence(STATES[0])
    assert answer.action == 2
    assert answer.info["failures"] == {"b": "asleep"}
    members["c"] = Stubborn("gone", "c")
    with pytest.raises(AgentError, match="1 of 2 members"):
        AgentEnsembleWrapper(members, "e", settings).get_action_with_confidence(STATES[0])


def test_an_ensemble_hands_feedback_on() -> None:
    """Members learn from its steps; one on policy only from its own actions."""
    members: dict[str, BaseAgentWrapper] = {"d3qn": wrapped("d3qn"), "ppo": wrapped("ppo")}
    ensemble = AgentEnsembleWrapper(members)
    found = live(ensemble, 200)
    assert all(feedback.success for feedback in found)
    assert any("ppo" in feedback.reason for feedback in found)
    assert any(feedback.loss is not None for feedback in found)
