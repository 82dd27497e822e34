"""Preparing data sets: reading archives safely, the five sets of the paper, checks of folders."""
