"""scikit-learn at the sites, averaged by their sizes."""
