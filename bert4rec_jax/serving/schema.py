"""What requests and responses look like: checked by, and described from, the same types."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from bert4rec_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may ask for; more is an error of the client.

    Attributes:
        k: items recommended for a history. history: items in one. histories: in one request.
        filter: items in `exclude` or `allow`.
        search: items that a search finds. query: characters of one.
        body_bytes: of a request. body_seconds: until it is here.
        waiting: histories that wait for the model, of all requests; beyond them it is 503.
    """

    k: int = 100
    history: int = 1000
    histories: int = 64
    filter: int = 10_000
    search: int = 100
    query: int = 200
    body_bytes: int = 1 << 20
    body_seconds: float = 10.0
    waiting: int = 1024

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value <= 0:
                raise UserError(f"--max_{name} {value} must be above 0")
        if self.histories > self.waiting:
            raise UserError(
                f"--max_histories {self.histories} is above --max_waiting {self.waiting}: no such "
                "request could ever be answered"
            )


def _well_formed(history: list[str]) -> list[str]:
    # JSON can spell half a character ("\\ud800"), which no answer could repeat.
    try:
        "".join(history).encode()
    except UnicodeEncodeError:
        raise ValueError("an item id is not valid Unicode") from None
    return history


def _whole(number: object) -> object:
    # To JSON Schema, and so to who reads our description, 6.0 is an integer.
    return int(number) if isinstance(number, float) and number.is_integer() else number


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def request_model(limits: Limits, items: Sequence[str]) -> type[BaseModel]:
    """The type of a request to /recommend, under these limits and for this catalogue."""
    most = min(limits.k, len(items))
    item_ids = Annotated[list[str], Field(max_length=limits.filter)]

    class RecommendRequest(Strict):
        histories: Annotated[
            list[
                Annotated[list[str], Field(max_length=limits.history), AfterValidator(_well_formed)]
            ],
            Field(
                min_length=1,
                max_length=limits.histories,
                description="For each user the item ids, oldest first. Those that the model does "
                "not know are skipped; who has none gets the most popular items.",
                examples=[[list(items[:3])]],
            ),
        ]
        k: Annotated[
            int,
            Field(ge=1, le=most, description="How many items for each history."),
            BeforeValidator(_whole),
        ] = min(10, most)
        exclude: Annotated[item_ids, Field(description="Item ids never to recommend.")] = []
        allow: Annotated[
            item_ids | None, Field(description="Recommend these item ids only; null: all.")
        ] = None
        with_seen: Annotated[bool, Field(description="Recommend items of the history too.")] = False
        explain: Annotated[bool, Field(description="Say what the prediction attended to.")] = False

    return RecommendRequest


class Item(BaseModel):
    item: Annotated[str, Field(description="Raw id.")]
    title: Annotated[str | None, Field(description="null where none is known.")]


class Recommended(Item):
    score: Annotated[
        float,
        Field(description="Higher is better; a logit, or training rows where `popular`."),
    ]


class Recommendation(BaseModel):
    items: Annotated[
        list[Recommended], Field(description="Best first; fewer than k where fewer are left.")
    ]
    popular: Annotated[
        bool, Field(description="The most popular items: no item of the history is known.")
    ]
    unknown: Annotated[list[str], Field(description="Items of the history that are not known.")]
    attention: Annotated[
        list[float | None] | None,
        Field(
            description="With `explain`: for each item of the history the share of the "
            "prediction's attention, averaged over layers and heads; null for an item that the "
            "model did not see. The rest went to the mask itself."
        ),
    ]
    checkpoint: Annotated[int | None, Field(description="Training step of the model.")]


class RecommendResponse(BaseModel):
    results: Annotated[list[Recommendation], Field(description="One for each history.")]


class ItemsResponse(BaseModel):
    items: list[Item]


class Health(BaseModel):
    status: str
    items: Annotated[int, Field(description="Items in the catalogue.")]
    checkpoint: int | None
    explains: Annotated[bool, Field(description="Whether `explain` can be asked for.")]


class Error(BaseModel):
    detail: Annotated[str, Field(description="One line: what is wrong.")]
