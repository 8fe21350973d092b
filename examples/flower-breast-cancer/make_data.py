"""Split the breast-cancer data that scikit-learn brings along over hospitals, a CSV file each.

python make_data.py FOLDER [SITE ...]
"""

import sys
from pathlib import Path

import numpy as np

FILE = "breast_cancer.csv"


def write_sites(folder, sites):
    """Write ``folder/<site>/breast_cancer.csv`` for each site; returns the files' paths.

    Deterministic: the 569 rows are shuffled once with a fixed seed and dealt out in turn.
    """
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    rows = np.column_stack([data.data, data.target == 0])  # scikit-learn's 0 is malignant
    rows = rows[np.random.default_rng(7).permutation(len(rows))]
    names = [name.replace(" ", "_") for name in data.feature_names] + ["malignant"]
    paths = []
    for index, site in enumerate(sites):
        path = Path(folder, site, FILE)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(
            path, rows[index :: len(sites)], delimiter=",", header=",".join(names),
            comments="", fmt="%.10g",
        )  # fmt: skip
        paths.append(path)
    return paths


if __name__ == "__main__":
    for written in write_sites(sys.argv[1], sys.argv[2:] or ["site-1", "site-2", "site-3"]):
        print(written)
