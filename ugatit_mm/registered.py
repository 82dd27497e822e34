"""Importing this module registers everything; MMagic's registries import it at a lookup."""

from . import datasets, engine, evaluation, hooks, models

__all__ = ['datasets', 'engine', 'evaluation', 'hooks', 'models']
