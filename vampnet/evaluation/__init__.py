"""Evaluation of codecs, models and presets: measures, experiments, report, timing."""
