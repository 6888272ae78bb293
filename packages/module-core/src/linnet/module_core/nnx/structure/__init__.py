"""Models as structure and values: functions that split, walk, compare and merge them."""
