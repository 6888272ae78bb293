"""What a node is: kinds of values, attributes and their marks, trace levels, how it prints."""
