# ruff: noqa: RUF001 - letters that look alike are what these names are about
"""Names of people from several countries, in their own letters."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True)
class Country:
    """A country's usual names, and how its telephone numbers begin."""

    code: str
    dialing_code: str
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


COUNTRIES = (
    Country(
        "germany",
        "+49",
        _words("Jürgen Anke Björn Käthe Sören Jörg Bärbel Lukas Mia Günther Frieda Matthias Ülkü"),
        _words("Müller Schäfer Groß Weiß Köhler Jäger Böhm Krüger Schröder Vogel Lange Strauß"),
    ),
    Country(
        "france",
        "+33",
        _words("Zoé Éloïse François Hélène Jérôme Chloé Noël Anaïs Benoît Margaux Gaël Agnès"),
        _words("Lefèvre Durand Bérenger Gauthier Maître Boyer Noël Prévost Rivière Côté Legrand"),
    ),
    Country(
        "russia",
        "+7",
        _words("Алексей Мария Дмитрий Ольга Сергей Екатерина Николай Юлия Фёдор Анна Пётр Софья"),
        _words(
            "Шевченко Жук Цой Черных Седых Долгих Мельник Коваленко Бойко Дурново Живаго Хитрово"
        ),
    ),
    Country(
        "poland",
        "+48",
        _words("Łukasz Małgorzata Paweł Żaneta Grażyna Michał Bożena Stanisław Zofia Józef Agata"),
        _words("Wójcik Kowalczyk Dąbek Woźniak Król Pawłowicz Zając Michalak Wróbel Gołąb Sikora"),
    ),
    Country(
        "turkey",
        "+90",
        _words("Ayşe Özgür İpek Çağla Şule Emre Gülşen Yiğit Zeynep Uğur Öykü Barış Tuğçe"),
        _words("Yıldız Şahin Öztürk Çelik Kılıç Aydın Doğan Güneş Koç Erdoğdu Kaya Bulut"),
    ),
    Country(
        "ireland",
        "+353",
        _words("Siobhán Seán Aoife Pádraig Niamh Ciarán Róisín Oisín Gráinne Eoin Fionn Sinéad"),
        _words("O'Brien Murphy Ó'Súilleabháin Byrne Kelly Walsh McCarthy Doyle Gallagher Nolan"),
    ),
)

_LETTERS = str.maketrans(
    dict(zip("абвгдежзийклмнопрстуфхцы", "abvgdejziyklmnoprstufhcy", strict=True))
    | {"ё": "e", "ч": "ch", "ш": "sh", "щ": "sch", "ъ": "", "ь": "", "э": "e", "ю": "yu"}
    | {"я": "ya", "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ł": "l", "ı": "i", "'": ""}
)


def mailbox_name(first_name: str, last_name: str) -> str:
    """``jürgen``, ``Weiß`` → ``juergen.weiss``: what addresses are made of."""
    plain = f"{first_name}.{last_name}".lower().translate(_LETTERS)
    return unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
