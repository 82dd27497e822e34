"""Triton kernels, the plain formula of each, and the choice between them."""
