"""Models as structure and values: split, walked, compared, and put together again."""
