"""Published figures to read ours against.

Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from
Transformer", CIKM 2019 (arXiv 1904.06690), Table 2: leave one out, 100 negatives drawn by
popularity from the items the user has not seen.
"""

from collections.abc import Mapping
from typing import Any

PROTOCOL = "popularity_100"

_MODELS = (
    "popularity",
    "bpr-mf",
    "ncf",
    "fpmc",
    "gru4rec",
    "gru4rec+",
    "caser",
    "sasrec",
    "bert4rec",
)

_TABLE_2 = {
    "beauty": {
        "HR@1": (0.0077, 0.0415, 0.0407, 0.0435, 0.0402, 0.0551, 0.0475, 0.0906, 0.0953),
        "HR@5": (0.0392, 0.1209, 0.1305, 0.1387, 0.1315, 0.1781, 0.1625, 0.1934, 0.2207),
        "HR@10": (0.0762, 0.1992, 0.2142, 0.2401, 0.2343, 0.2654, 0.2590, 0.2653, 0.3025),
        "NDCG@5": (0.0230, 0.0814, 0.0855, 0.0902, 0.0812, 0.1172, 0.1050, 0.1436, 0.1599),
        "NDCG@10": (0.0349, 0.1064, 0.1124, 0.1211, 0.1074, 0.1453, 0.1360, 0.1633, 0.1862),
        "MRR": (0.0437, 0.1006, 0.1043, 0.1056, 0.1023, 0.1299, 0.1205, 0.1536, 0.1701),
    },
    "steam": {
        "HR@1": (0.0159, 0.0314, 0.0246, 0.0358, 0.0574, 0.0812, 0.0495, 0.0885, 0.0957),
        "HR@5": (0.0805, 0.1177, 0.1203, 0.1517, 0.2171, 0.2391, 0.1766, 0.2559, 0.2710),
        "HR@10": (0.1389, 0.1993, 0.2169, 0.2551, 0.3313, 0.3594, 0.2870, 0.3783, 0.4013),
        "NDCG@5": (0.0477, 0.0744, 0.0717, 0.0945, 0.1370, 0.1613, 0.1131, 0.1727, 0.1842),
        "NDCG@10": (0.0665, 0.1005, 0.1026, 0.1283, 0.1802, 0.2053, 0.1484, 0.2147, 0.2261),
        "MRR": (0.0669, 0.0942, 0.0932, 0.1139, 0.1420, 0.1757, 0.1305, 0.1874, 0.1949),
    },
    "ml-1m": {
        "HR@1": (0.0141, 0.0914, 0.0397, 0.1386, 0.1583, 0.2092, 0.2194, 0.2351, 0.2863),
        "HR@5": (0.0715, 0.2866, 0.1932, 0.4297, 0.4673, 0.5103, 0.5353, 0.5434, 0.5876),
        "HR@10": (0.1358, 0.4301, 0.3477, 0.5946, 0.6207, 0.6351, 0.6692, 0.6629, 0.6970),
        "NDCG@5": (0.0416, 0.1903, 0.1146, 0.2885, 0.3196, 0.3705, 0.3832, 0.3980, 0.4454),
        "NDCG@10": (0.0621, 0.2365, 0.1640, 0.3439, 0.3627, 0.4064, 0.4268, 0.4368, 0.4818),
        "MRR": (0.0627, 0.2009, 0.1358, 0.2891, 0.3041, 0.3462, 0.3648, 0.3790, 0.4254),
    },
    "ml-20m": {
        "HR@1": (0.0221, 0.0553, 0.0231, 0.1079, 0.1459, 0.2021, 0.1232, 0.2544, 0.3440),
        "HR@5": (0.0805, 0.2128, 0.1358, 0.3601, 0.4657, 0.5118, 0.3804, 0.5727, 0.6323),
        "HR@10": (0.1378, 0.3538, 0.2922, 0.5201, 0.5844, 0.6524, 0.5427, 0.7136, 0.7473),
        "NDCG@5": (0.0511, 0.1332, 0.0771, 0.2239, 0.3090, 0.3630, 0.2538, 0.4208, 0.4967),
        "NDCG@10": (0.0695, 0.1786, 0.1271, 0.2895, 0.3637, 0.4087, 0.3062, 0.4665, 0.5340),
        "MRR": (0.0709, 0.1503, 0.1072, 0.2273, 0.2967, 0.3476, 0.2529, 0.4026, 0.4785),
    },
}


def published_metrics(dataset: str, model: str) -> dict[str, float]:
    """The paper's row for a model on a data set, by metric; empty where the paper has none.

    >>> published_metrics("ml-1m", "bert4rec")["NDCG@10"]
    0.4818

    Args:
        dataset: "beauty", "steam", "ml-1m" or "ml-20m".
        model: "popularity", "bpr-mf", "ncf", "fpmc", "gru4rec", "gru4rec+", "caser", "sasrec" or
            "bert4rec".
    """
    if model not in _MODELS:
        return {}
    column = _MODELS.index(model)
    return {metric: row[column] for metric, row in _TABLE_2.get(dataset, {}).items()}


def row_of_results(results: Mapping[str, Any]) -> dict[str, float]:
    """The paper's row for a run of ours, by metric; empty where its split is not the paper's, or
    the paper has none of its kind: of SASRec with another loss than its own, and of an LSTM.

    Args:
        results: the parts of results.json.
    """
    dataset, model, loss = results["dataset"], results["model"], results["train"].get("loss")
    if dataset.get("split", "leave_one_out") != "leave_one_out":
        return {}
    if model["name"] == "sasrec" and loss != "bce":
        return {}
    if model["name"] == "gru4rec" and model.get("cell") == "lstm":
        return {}
    return published_metrics(dataset["name"], model["name"])
