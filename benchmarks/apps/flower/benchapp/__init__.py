"""An ordinary Flower app whose computation costs next to nothing."""
