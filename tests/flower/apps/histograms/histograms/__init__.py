"""Analytics without training: lists of numbers, summed by the app."""
