"""The four wrappers of differential privacy, clipping here or there, fixed or adaptive."""
