"""Give every site its own part of scikit-learn's digits: OUT_DIR/<site>/digits.npz.

The part is not identically distributed: sites see the digits in different proportions.
usage: python split.py OUT_DIR [--sites N]
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def parts(sites, seed=7):
    """For each site the arrays x_train, y_train, x_test, y_test; disjoint, reproducible."""
    x, y = load_digits(return_X_y=True)
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(sites, 4.0), size=10)  # (digit, site)
    owner = np.empty(len(y), dtype=int)
    for digit in range(10):
        rows = random.permutation(np.flatnonzero(y == digit))
        cuts = (np.cumsum(shares[digit])[:-1] * len(rows)).astype(int)
        for site, chunk in enumerate(np.split(rows, cuts)):
            owner[chunk] = site
    for site in range(sites):
        rows = random.permutation(np.flatnonzero(owner == site))
        test, train = rows[: len(rows) // 4], rows[len(rows) // 4 :]
        yield {"x_train": x[train], "y_train": y[train], "x_test": x[test], "y_test": y[test]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sites", type=int, default=3)
    options = parser.parse_args()
    for number, part in enumerate(parts(options.sites), start=1):
        folder = options.out / f"site-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "digits.npz", **part)
        print(f"{folder / 'digits.npz'}: {len(part['y_train'])} + {len(part['y_test'])} images")


if __name__ == "__main__":
    main()
