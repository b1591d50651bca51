"""The knobs: typed settings, the presets, and the only reader of YAML.

Lives here: ``settings`` (every knob with its unit and a sentence), ``load`` (preset, file and
overrides into settings), ``problems`` (what is wrong, with file, key and line), ``credentials``,
``presets/``. May import: pydantic, yaml. Never: another room of this house.
"""
