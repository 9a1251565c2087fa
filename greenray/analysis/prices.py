"""Prices, grid intensity and PUE: from dated tables in the package, or from the user's file.

`--region R` is an ISO 3166 alpha-3 code or a country's name; without it the world's averages are used, and the report says so.
A member of the European Union without a price of its own gets the Union's mean. What no table knows is None, and so is the money.

`--prices F` overrides any of these, as YAML:

    currency: EUR                         # of electricity_per_kwh; USD if left out
    electricity_per_kwh: 0.21
    grid_g_co2e_per_kwh: 380
    pue: 1.2                              # >= 1; energy at the meter / energy of the machine
    gpu_currency: USD                     # of gpu_per_hour; `currency` if left out
    gpu_per_hour:                         # price of renting one board for an hour, by the name that `greenray doctor` shows
      NVIDIA L4: 0.8

or as CSV with a header, one entry a line (`gpu_per_hour` takes the board's name):

    key,name,value,currency
    electricity_per_kwh,,0.21,EUR
    grid_g_co2e_per_kwh,,380,
    pue,,1.2,
    gpu_per_hour,NVIDIA L4,0.8,USD
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from greenray.errors import ConfigError

WORLD = "WLD"
UNION = "EUU"
_MAKERS = ("amd", "intel", "nvidia")
_EAST = ("BGR", "CYP", "CZE", "EST", "GRC", "HRV", "HUN", "LTU", "LVA", "MLT", "POL", "ROU", "SVK", "SVN")
_WEST = ("AUT", "BEL", "DEU", "DNK", "ESP", "FIN", "FRA", "IRL", "ITA", "LUX", "NLD", "PRT", "SWE")
MEMBERS = frozenset(_EAST + _WEST)
KEYS = ("currency", "electricity_per_kwh", "grid_g_co2e_per_kwh", "pue", "gpu_currency", "gpu_per_hour")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure, the date that it describes and where it is from."""

    value: float
    unit: str
    date: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What joules and seconds are turned into money and carbon with.

    Attributes:
        region: ISO 3166 alpha-3 code, or WLD; `default_region` when nobody asked for it.
        electricity, grid: money, and g CO2e, per kWh; None when no table knows it.
        pue: energy at the meter over energy of the machine; 1 unless given, since the machine alone is measured.
        gpus: money per GPU-hour by the board's name as `greenray doctor` shows it; of those that mean one board the last counts.
    """

    region: str
    region_name: str
    default_region: bool
    electricity: Figure | None
    grid: Figure | None
    pue: Figure
    gpus: Mapping[str, Figure]

    def gpu_hour(self, gpu_name: str | None) -> Figure | None:
        found = (figure for name, figure in reversed(list(self.gpus.items())) if gpu_name and _bare(name) == _bare(gpu_name))
        return next(found, None)


def load(*, prices: Path | None = None, region: str | None = None) -> Prices:
    """The figures for a region, overridden by a file. Raises ConfigError where one of them is not understood."""
    grids = {row["iso3"]: row for row in table("grid_intensity.csv")}
    costs = {row["region"]: row for row in table("electricity.csv")}
    names = {code: row["country"] for code, row in grids.items()} | {code: row["name"] for code, row in costs.items()}
    code = _resolve(region, names)
    found = Prices(
        region=code,
        region_name=names[code],
        default_region=region is None,
        electricity=_electricity(code, costs),
        grid=_grid(grids.get(code)),
        pue=Figure(value=1.0, unit="", date="", source="the machine alone (data centres average 1.56: Uptime survey 2024)"),
        gpus={row["gpu_name"]: _figure(row, "price_per_gpu_hour") for row in table("cloud.csv")},
    )
    return found if prices is None else _override(found, prices)


def _figure(row: Mapping[str, str], column: str, note: str = "") -> Figure:
    source = ", ".join(row[name] for name in ("provider", "source") if name in row) + note
    return Figure(value=float(row[column]), unit=row["currency"], date=row["date"], source=source)


def table(name: str) -> list[dict[str, str]]:
    """A table of the package; lines that start with # are comments."""
    return _rows(resources.files("greenray.analysis").joinpath("tables", name).read_text(encoding="utf-8"))


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(line for line in text.splitlines() if line.strip() and not line.startswith("#")))


def _resolve(region: str | None, names: Mapping[str, str]) -> str:
    if region is None:
        return WORLD
    wanted = region.strip().casefold()
    folded = {code: (code.casefold(), name.casefold()) for code, name in names.items()}
    for code, spellings in folded.items():
        if wanted in spellings:
            return code
    near = (code for code, (iso, name) in folded.items() if wanted and (wanted in name or iso.startswith(wanted)))
    close = sorted(f"{names[code]} ({code})" for code in near)
    form = "give an ISO 3166 code of three letters such as DEU, or a country's English name."
    hint = f"did you mean {', '.join(close[:4])}?" if close else form
    raise ConfigError(f"--region: {region!r} is not in the tables; {hint}")


def _electricity(code: str, costs: Mapping[str, Mapping[str, str]]) -> Figure | None:
    row = costs.get(code) or (costs.get(UNION) if code in MEMBERS else None)
    if row is None:
        return None
    return _figure(row, "price_per_kwh", "" if row["region"] == code else " (mean of the European Union)")


def _grid(row: Mapping[str, str] | None) -> Figure | None:
    if row is None:
        return None
    source = "Our World in Data (Ember, Energy Institute), through codecarbon 3.3.2"
    if row["iso3"] == WORLD:
        source = "Ember, Global Electricity Review 2023"
    return Figure(value=float(row["g_co2e_per_kwh"]), unit="g CO2e/kWh", date=row["year"], source=source)


def _override(base: Prices, path: Path) -> Prices:
    given = _read(path)
    if unknown := sorted(str(key) for key in given if key not in KEYS):
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}; known are {', '.join(KEYS)}.")
    currency = _currency(path, given, "currency", "USD")
    gpu_currency = _currency(path, given, "gpu_currency", currency)
    boards = given.get("gpu_per_hour") or {}
    if not isinstance(boards, Mapping):
        raise ConfigError(f"{path}: gpu_per_hour must map names of boards to prices, for example 'NVIDIA L4: 0.8'.")

    def figure(key: str, value: Any, unit: str) -> Figure:
        number = _number(path, key, value, least=1 if key == "pue" else 0)
        return Figure(value=number, unit=unit, date="", source=f"{path.name}, given with --prices")

    units = {"electricity_per_kwh": currency, "grid_g_co2e_per_kwh": "g CO2e/kWh", "pue": ""}
    taken = {key: figure(key, given[key], unit) for key, unit in units.items() if given.get(key) is not None}
    found: dict[str, Any] = {key.partition("_")[0]: price for key, price in taken.items()}
    gpus = {name: price for name, price in base.gpus.items() if name not in boards}
    for name, entry in boards.items():
        value, unit = entry if isinstance(entry, tuple) else (entry, None)
        gpus[str(name)] = figure(f"gpu_per_hour: {name}", value, unit or gpu_currency)
    return replace(base, gpus=gpus, **found)


def _read(path: Path) -> Mapping[str, Any]:
    """What the file holds; a board's price is a pair with its currency where the file is CSV."""
    try:
        text = path.read_text(encoding="utf-8")
        data = _from_csv(path, text) if path.suffix.lower() == ".csv" else yaml.safe_load(text) or {}
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"{path}: the prices cannot be read ({why}).") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: not valid YAML ({str(error).splitlines()[0]}).") from None
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path}: must map keys to values; known keys are {', '.join(KEYS)}.")
    return data


def _from_csv(path: Path, text: str) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for row in _rows(text):
        key, value, currency = row.get("key"), row.get("value"), row.get("currency")
        if not key or value is None:
            raise ConfigError(f"{path}: every line needs key,name,value,currency, under a header that says so.")
        if key == "gpu_per_hour":
            data.setdefault(key, {})[row.get("name") or ""] = (value, currency)
        else:
            data[key] = value
            if key == "electricity_per_kwh" and currency:
                data["currency"] = currency
    return data


def _number(path: Path, key: str, value: Any, *, least: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number < least:
        raise ConfigError(f"{path}: {key} is {value!r}; it must be a number of at least {least:g}.")
    return number


def _currency(path: Path, given: Mapping[str, Any], key: str, fallback: str) -> str:
    value = given.get(key, fallback)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{path}: {key} is {value!r}; it must be a currency such as EUR.")
    return value


def _bare(gpu_name: str) -> list[str]:
    """Boards are known with and without the maker's name, which comes first; what else comes first tells boards apart."""
    words = gpu_name.casefold().split()
    return words[1:] if words[:1] and words[0] in _MAKERS else words
