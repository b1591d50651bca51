"""The public interface in one screen: what the specification names, from where it lives.

``python -m metaensemble`` is the command ``metaensemble``.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from daemon.cli import main

    sys.exit(main())

from config.meta_learning_config import (
    MetaLearningConfig,
    MetaLearningConfigManager,
    create_meta_learning_config,
)
from daemon.ensemble_trainer import MetaLearningEnsembleTrainer
from daemon.evaluator import MetaLearningEvaluator
from daemon.risk_managed import MetaLearningRiskManagedEnsemble, RiskRule, RiskView
from kernels.events import Action
from strategy.agents.wrappers import AgentError
from strategy.learning.agent_wrappers import (
    Answer,
    BaseAgentWrapper,
    DQNAgentWrapper,
    Feedback,
    PPOAgentWrapper,
    Practice,
    RainbowAgentWrapper,
)
from strategy.learning.ensemble_wrapper import AgentEnsembleWrapper
from strategy.learning.environment import TradingWorlds, WorldRules
from strategy.learning.trade_simulator import TradeSimulator
from strategy.learning.wrapper_factory import (
    AgentWrapperFactory,
    create_agent,
    create_agent_wrappers_from_config,
)
from strategy.meta_ensemble import MetaLearningEnsembleManager
from strategy.meta_tracker import MetaLearningTracker

__all__ = [
    "Action",
    "AgentEnsembleWrapper",
    "AgentError",
    "AgentWrapperFactory",
    "Answer",
    "BaseAgentWrapper",
    "DQNAgentWrapper",
    "Feedback",
    "MetaLearningConfig",
    "MetaLearningConfigManager",
    "MetaLearningEnsembleManager",
    "MetaLearningEnsembleTrainer",
    "MetaLearningEvaluator",
    "MetaLearningRiskManagedEnsemble",
    "MetaLearningTracker",
    "PPOAgentWrapper",
    "Practice",
    "RainbowAgentWrapper",
    "RiskRule",
    "RiskView",
    "TradeSimulator",
    "TradingWorlds",
    "WorldRules",
    "create_agent",
    "create_agent_wrappers_from_config",
    "create_meta_learning_config",
]
