"""Many experiments: presets, profiles, runs, and the records that they leave behind."""
