"""Streams of random keys."""
