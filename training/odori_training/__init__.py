"""Trains the models of Odori and makes the golden vectors that the engine is tested against."""
