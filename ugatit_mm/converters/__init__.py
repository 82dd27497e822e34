"""Weights: conversion from official programs and back, safe reading, the networks they need."""

from .files import CheckpointError, naming, read_checkpoint, write_checkpoint
from .networks import build_model, describe, load_weights, weights_of
from .pytorch import from_official, to_official
from .reading import read_weights
from .tensorflow import from_variables, read_variables

__all__ = [
    'CheckpointError',
    'build_model',
    'describe',
    'from_official',
    'from_variables',
    'load_weights',
    'naming',
    'read_checkpoint',
    'read_variables',
    'read_weights',
    'to_official',
    'weights_of',
    'write_checkpoint',
]
