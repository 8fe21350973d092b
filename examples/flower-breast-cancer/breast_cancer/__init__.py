"""Logistic regression on breast-cancer measurements that never leave their hospitals."""
