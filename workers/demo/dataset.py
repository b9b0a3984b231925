"""The data that the main job works on: contact files, a shop with orders, a year of sales.

The same seed gives the same data. Some of it is bad on purpose, as real data is: lines without an
address, customers without money, goods out of stock, mailboxes that are gone, a broken picture.
"""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import insert

from workers.demo.mailbox import GONE_DOMAIN, GREY_DOMAIN
from workers.demo.names import COUNTRIES, Country, mailbox_name
from workers.demo.pictures import draw_pictures
from workers.models import Account, Order, OrderItem, Product, Sale

if TYPE_CHECKING:
    from workers.database import Database

#: The year whose sales are reported.
YEAR = 2025
_ORDINARY_DOMAINS = ("mail.example", "post.example", "office.example")
#: One in so many contacts has a mailbox that is gone, is grey listed; one line in so many is bad.
_GONE_EVERY, _GREY_EVERY, _BAD_LINE_EVERY, _REPEATED_LINE_EVERY = 80, 25, 60, 50
#: One in so many orders cannot be paid, or asks for goods that are not there yet.
_POOR_EVERY, _SOLD_OUT_EVERY = 10, 8
_SALES = 6_000

_PRODUCTS = {
    "Books": (("Atlas", 3900), ("Cookbook", 2450), ("Novel", 1290)),
    "Garden": (("Rake", 1990), ("Bench", 14900), ("Seeds", 350)),
    "Kitchen": (("Kettle", 4490), ("Knife", 5900), ("Teapot", 2790)),
    "Lighting": (("Lamp", 7990), ("Candle", 690), ("Lantern", 3450)),
    "Music": (("Ukulele", 8900), ("Strings", 1190), ("Metronome", 2990)),
    "Toys": (("Kite", 2290), ("Puzzle", 1790), ("Robot", 6490)),
}
_SOLD_OUT_SKU = "LANTERN"
#: How much of a year's sales each month gets: quiet in summer, busy before the holidays.
_MONTH_WEIGHTS = (7, 6, 8, 8, 8, 7, 6, 6, 8, 9, 12, 15)
#: The same for the days of a week, Monday first.
_WEEKDAY_WEIGHTS = (8, 8, 8, 9, 11, 14, 5)


@dataclass(frozen=True)
class ContactFile:
    """A contacts file, and the addresses that an import of it must find."""

    path: Path
    emails: tuple[str, ...]


@dataclass(frozen=True)
class SupplierDelivery:
    """Goods on their way."""

    note: str
    sku: str
    quantity: int


@dataclass
class Dataset:
    """Everything there is to do, and what must come of it."""

    contact_files: list[ContactFile] = field(default_factory=list)
    wrong_file: Path = Path()
    good_orders: list[UUID] = field(default_factory=list)
    unpayable_orders: list[UUID] = field(default_factory=list)
    waiting_orders: list[UUID] = field(default_factory=list)
    delivery: SupplierDelivery = SupplierDelivery("", "", 0)
    months: list[tuple[int, int]] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    broken_picture: Path = Path()

    @property
    def emails(self) -> list[str]:
        """All contacts' addresses."""
        return [email for file in self.contact_files for email in file.emails]


def is_gone(email: str) -> bool:
    """Whether the mail server of the run knows no such mailbox."""
    return email.endswith(GONE_DOMAIN)


def is_grey(email: str) -> bool:
    """Whether the mail server of the run takes mail for it at the second attempt only."""
    return email.endswith(GREY_DOMAIN)


def make_dataset(folder: Path, database: Database, contacts: int, *, seed: int = 7) -> Dataset:
    """Write the files and fill the shop's tables; everything else scales with ``contacts``."""
    rng = random.Random(seed)  # noqa: S311 - data, not secrets
    dataset = Dataset(months=[(month, YEAR) for month in range(1, 13)])
    dataset.contact_files = _write_contact_files(folder / "contacts", contacts, rng)
    dataset.wrong_file = folder / "contacts" / "not-contacts.csv"
    dataset.wrong_file.write_text("sku;quantity\nLAMP;4\n", encoding="utf-8")
    dataset.pictures = draw_pictures(folder / "pictures", max(8, min(60, contacts // 50)), rng)
    dataset.broken_picture = folder / "pictures" / "broken.jpg"
    dataset.broken_picture.write_bytes(dataset.pictures[0].read_bytes()[:2000])
    _fill_shop(database, dataset, max(24, contacts // 20), rng)
    _fill_sales(database, rng)
    return dataset


def _write_contact_files(folder: Path, contacts: int, rng: random.Random) -> list[ContactFile]:
    folder.mkdir(parents=True, exist_ok=True)
    share, rest = divmod(contacts, len(COUNTRIES))
    counts = [share + (index < rest) for index in range(len(COUNTRIES))]
    return [
        _write_contact_file(folder, country, count, rng)
        for country, count in zip(COUNTRIES, counts, strict=True)
    ]


def _write_contact_file(
    folder: Path, country: Country, count: int, rng: random.Random
) -> ContactFile:
    path = folder / f"contacts-{country.code}.csv"
    emails = []
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["first_name", "last_name", "email", "phone"])
        for number in range(1, count + 1):
            first, last = rng.choice(country.first_names), rng.choice(country.last_names)
            email = f"{mailbox_name(first, last)}.{number}@{_domain(number, rng)}"
            phone = f"{country.dialing_code} {rng.randint(10**8, 10**9 - 1)}"
            writer.writerow([first, last, email, phone])
            emails.append(email)
            if number % _REPEATED_LINE_EVERY == 0:
                writer.writerow([first, last, email.upper(), phone])
            if number % _BAD_LINE_EVERY == 0:
                writer.writerow([first, last, "no address given", phone])
    return ContactFile(path, tuple(emails))


def _domain(number: int, rng: random.Random) -> str:
    if number % _GONE_EVERY == _GONE_EVERY // 4:
        return GONE_DOMAIN
    if number % _GREY_EVERY == 0:
        return GREY_DOMAIN
    return rng.choice(_ORDINARY_DOMAINS)


def _fill_shop(database: Database, dataset: Dataset, count: int, rng: random.Random) -> None:
    products = [
        Product(name.upper(), name, category, price, 0 if name.upper() == _SOLD_OUT_SKU else 9999)
        for category, entries in _PRODUCTS.items()
        for name, price in entries
    ]
    prices = {product.sku: product.price_cents for product in products}
    ordinary = [sku for sku in prices if sku != _SOLD_OUT_SKU]
    with database.transaction_sync() as session:
        session.add_all(products)
        session.flush()
        for number in range(1, count + 1):
            order_id = UUID(int=rng.getrandbits(128), version=4)
            customer = f"customer.{number}@{rng.choice(_ORDINARY_DOMAINS)}"
            country = rng.choice(COUNTRIES)
            name = f"{rng.choice(country.first_names)} {rng.choice(country.last_names)}"
            skus = rng.sample(ordinary, rng.randint(1, 4))
            is_poor = number % _POOR_EVERY == 0
            if number % _SOLD_OUT_EVERY == 1:
                skus.append(_SOLD_OUT_SKU)
                dataset.waiting_orders.append(order_id)
            elif is_poor:
                dataset.unpayable_orders.append(order_id)
            else:
                dataset.good_orders.append(order_id)
            items = [OrderItem(sku, rng.randint(1, 3), prices[sku]) for sku in skus]
            session.add(Order(order_id, name, customer, items))
            money = sum(item.quantity * item.price_cents for item in items)
            session.add(Account(customer, 99 if order_id in dataset.unpayable_orders else money))
    needed = 3 * len(dataset.waiting_orders)
    dataset.delivery = SupplierDelivery(
        f"delivery-{rng.randint(1000, 9999)}", _SOLD_OUT_SKU, needed
    )


def _fill_sales(database: Database, rng: random.Random) -> None:
    products = [
        (category, price) for category, entries in _PRODUCTS.items() for _, price in entries
    ]
    year = datetime(YEAR, 1, 1, tzinfo=UTC)
    days = [year + timedelta(days=n) for n in range(365)]
    weights = [_MONTH_WEIGHTS[d.month - 1] * _WEEKDAY_WEIGHTS[d.weekday()] for d in days]
    rows = []
    # One sale on the last day of the year at least, which a report must not miss.
    for day in [*rng.choices(days, weights, k=_SALES), days[-1]]:
        category, price = rng.choice(products)
        moment = day + timedelta(minutes=rng.randint(8 * 60, 23 * 60 + 59))
        rows.append(
            {"category": category, "amount_cents": price * rng.randint(1, 4), "sold_at": moment}
        )
    with database.transaction_sync() as session:
        session.execute(insert(Sale), rows)
