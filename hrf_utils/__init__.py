"""Shared helpers of the notebooks: one room for each thing they need to know."""
