"""The encounter process: `python -m services.encounter`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.data.storage.database import Database
from services.encounter.authority_keys import AuthorityKeys, authority_keys
from services.encounter.development_key import development_key, public_pem
from services.encounter.device_signed import DeviceSignedEncounters
from services.encounter.encounter_token import TimeLimits
from services.encounter.history import History
from services.encounter.location_retention import BREATH_S, INTERVAL_S, LocationRetention
from services.encounter.recording import Recorder
from services.encounter.register import Register
from services.encounter.servicer import EncounterServicer
from services.encounter.settings import EncounterSettings
from services.identity.device_proof import DeviceProofs
from services.server.runtime.background import Loop
from services.server.runtime.boundary import Endpoint
from services.server.runtime.process import Hosted, run
from services.server.runtime.settings import WrongSetting, load
from vyris.encounter.v1 import encounter_pb2


@asynccontextmanager
async def build(settings: EncounterSettings) -> AsyncIterator[Hosted]:
    """Build the encounter process, and stop its tasks at the end."""
    authority = _authority(settings)
    proofs = DeviceProofs(settings.device_proof, settings.public_base_url)
    retention_days = settings.encounter_location_retention_days
    async with Database.open(settings, "vyris-encounter") as database:
        register = Register(settings.encounter_clock_leeway_s, keeps_locations=retention_days > 0)
        recorder = Recorder(database, register, settings)
        retention = LocationRetention(database, retention_days)
        servicer = EncounterServicer(
            authority,
            TimeLimits(settings.encounter_max_age_s, settings.encounter_max_lifetime_s),
            recorder,
            DeviceSignedEncounters(database, register, proofs) if settings.encounter_device_keys == "on" else None,
            History(database, proofs),
            own_typ_required=settings.encounter_jwt_typ == "required",
        )
        try:
            yield Hosted(
                endpoints=[Endpoint(encounter_pb2.DESCRIPTOR.services_by_name["EncounterService"], servicer)],
                ready=lambda: database.holds("encounters"),
                background=[Loop("location_retention", run=retention.once, every_s=INTERVAL_S, more_s=BREATH_S)],
            )
        finally:
            await recorder.close()


def _authority(settings: EncounterSettings) -> AuthorityKeys:
    """The configured keys, or in development a generated one. Raises WrongSetting."""
    if settings.encounter_jwt_public_key.strip():
        return authority_keys(settings.encounter_jwt_public_key)
    if not settings.production:
        return authority_keys(public_pem(development_key(settings.vyris_state_dir)))
    if settings.encounter_device_keys == "on":
        return authority_keys("")
    raise WrongSetting(
        "VYRIS_ENV=production needs ENCOUNTER_JWT_PUBLIC_KEY (the public key of the signer of encounter tokens), "
        "or ENCOUNTER_DEVICE_KEYS=on"
    )


if __name__ == "__main__":
    encounter_settings = load(EncounterSettings)
    run("encounter", encounter_settings, encounter_settings.encounter_port, build)
