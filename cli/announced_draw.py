"""A draw as `vyris drop create --sale draw` announces it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from cli.backends import BackendSettings
from cli.console import fail
from services.device_proof import DeviceProofSettings
from services.draw.chains import QUICKNET, Chain
from services.draw.development_beacon import development_beacon
from services.draw.settings import DrawSigningSettings
from services.draw.signing import read_signer
from services.draw.terms import NewDraw
from services.runtime.settings import WrongSetting, load

# Between the end of the challenge time and the round, where nobody names one: the root has so long to be late.
ROUND_AFTER: Final = timedelta(minutes=10)


class AnnouncingSettings(DrawSigningSettings, DeviceProofSettings):
    """What the command needs to know to write terms."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    vyris_env: Literal["development", "production"] = "development"
    vyris_state_dir: Path = Field(Path(".vyris"))


class DrawTimes(NamedTuple):
    """What was asked for."""

    entries_open: datetime | None
    entries_close: datetime | None
    beacon_round: int | None
    challenge_s: int


def asked_draw(is_draw: bool, times: DrawTimes, verifier_key: str | None, *, is_development: bool) -> NewDraw | None:
    """The draw that was asked for; None for other drops. Ends the command with a sentence where it cannot be."""
    if not is_draw:
        if any(one is not None for one in (*times[:3], verifier_key)) or is_development:
            fail("Entries, rounds and beacons belong to a draw: add --sale draw.")
        return None
    if times.entries_close is None:
        fail("A draw needs --entries-close, and --closes-at for the end of its sale.")
    settings = load(AnnouncingSettings)
    chain = chain_of(settings, is_development=is_development)
    entries_open = times.entries_open or datetime.now(UTC)
    number = times.beacon_round or chain.first_round_from(
        times.entries_close + timedelta(seconds=times.challenge_s) + ROUND_AFTER
    )
    return NewDraw(
        chain,
        number,
        _whole(entries_open),
        _whole(times.entries_close),
        times.challenge_s,
        verifier_key or _own_key(settings),
    )


def chain_of(settings: AnnouncingSettings, *, is_development: bool) -> Chain:
    """The beacon chain that decides. Ends the command with a sentence in production."""
    if not is_development:
        return QUICKNET
    if settings.vyris_env == "production":
        fail("VYRIS_ENV=production refuses the development beacon: its owner can compute its rounds ahead of time.")
    return development_beacon(settings.vyris_state_dir).chain


def _own_key(settings: AnnouncingSettings) -> str:
    try:
        signer = read_signer(
            settings.draw_signing_key_file,
            BackendSettings().vyris_state_dir,
            settings.public_base_url,
            production=settings.vyris_env == "production",
        )
    except WrongSetting as problem:
        fail(f"{problem}.")
    if signer is None:
        fail("Name the key that will sign: --verifier-key, or DRAW_SIGNING_KEY_FILE.")
    return signer.verifier_key


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
