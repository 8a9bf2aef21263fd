"""The reforge service's methods: check the shape, run the transaction, wake the mail worker."""

from __future__ import annotations

from services.data.storage.database import Database
from services.identity.device_proof import claimed_proof
from services.identity.jose import KeyRefused, PublicKey, public_key_from_text
from services.identity.ownership import known_membership_id
from services.reforge.callers import network_address
from services.reforge.confirmation import Confirmation
from services.reforge.device_email_changes import DeviceEmailChanges, RequestedChange
from services.reforge.initiation import Initiation, RequestedMove
from services.reforge.lookups import find_request, find_request_by_id
from services.reforge.mail_worker import MailWorker
from services.reforge.moves import Moves, move_status
from services.reforge.reversal import Reversal
from services.reforge.tokens import Purpose
from services.server.runtime.call import Call
from services.server.runtime.fields import email_address, refuse_nul
from services.server.runtime.request_checks import compile_check
from services.server.runtime.times import rfc3339
from vyris.errors import InvalidRequest
from vyris.reforge.v1 import reforge_pb2

# The parsers of an address and of a key check those.
_check_init = compile_check(reforge_pb2.InitReforgeRequest, apart_from=("new_public_key",))
_check_confirm = compile_check(reforge_pb2.ConfirmReforgeRequest)
_check_get = compile_check(reforge_pb2.GetReforgeRequest)
_check_refuse = compile_check(reforge_pb2.RefuseReforgeRequest)
_check_undo = compile_check(reforge_pb2.UndoReforgeRequest)
_check_change_email = compile_check(reforge_pb2.ChangeEmailRequest, apart_from=("email",))


class ReforgeServicer:
    """`vyris.reforge.v1.ReforgeService` but for the pages."""

    def __init__(
        self,
        database: Database,
        initiation: Initiation,
        confirmation: Confirmation,
        reversal: Reversal,
        email_changes: DeviceEmailChanges,
        moves: Moves,
        mail: MailWorker,
    ) -> None:
        self._database = database
        self._initiation = initiation
        self._confirmation = confirmation
        self._reversal = reversal
        self._email_changes = email_changes
        self._moves = moves
        self._mail = mail

    async def init_reforge(
        self, request: reforge_pb2.InitReforgeRequest, call: Call
    ) -> reforge_pb2.InitReforgeResponse:
        """Ask for a move."""
        move = _parse_move(request, call)
        begun = await self._initiation.begin(move)
        self._mail.wake()
        return reforge_pb2.InitReforgeResponse(
            status="PENDING",
            reforge_id=str(begun.reforge_id),
            expires_at=rfc3339(begun.expires_at),
            confirmation_code=begun.code,
        )

    async def confirm_reforge(
        self, request: reforge_pb2.ConfirmReforgeRequest, call: Call
    ) -> reforge_pb2.ConfirmReforgeResponse:
        """Confirm a move."""
        refuse_nul(request.token, request.confirmation_code)
        _check_confirm(request)
        moved = await self._confirmation.confirm(request.token, request.confirmation_code)
        self._mail.wake()
        return reforge_pb2.ConfirmReforgeResponse(
            status="CONFIRMED", membership_id=str(moved.membership_id), new_device_id=moved.new_device_id
        )

    async def get_reforge(self, request: reforge_pb2.GetReforgeRequest, call: Call) -> reforge_pb2.GetReforgeResponse:
        """Return the state of a request."""
        refuse_nul(request.reforge_id, request.token)
        _check_get(request)
        if request.token:
            found = await find_request(self._database, Purpose.MOVE, request.token)
        else:
            found = await find_request_by_id(self._database, request.reforge_id)
        return reforge_pb2.GetReforgeResponse(
            status=move_status(found),
            reforge_id=str(found.id),
            expires_at=rfc3339(found.expires_at),
            decided_at=rfc3339(found.decided_at),
            undo_until=rfc3339(found.undo_until),
        )

    async def refuse_reforge(
        self, request: reforge_pb2.RefuseReforgeRequest, call: Call
    ) -> reforge_pb2.RefuseReforgeResponse:
        """Refuse a move."""
        refuse_nul(request.reforge_id, request.token, request.membership_id)
        _check_refuse(request)
        if request.token:
            await self._reversal.refuse_by_token(request.token)
        else:
            move = await self._reversal.find_move(reforge_id=request.reforge_id, membership_id=request.membership_id)
            await self._reversal.refuse_by_device(move, claimed_proof(call, request))
        self._mail.wake()
        return reforge_pb2.RefuseReforgeResponse(status="REFUSED")

    async def undo_reforge(
        self, request: reforge_pb2.UndoReforgeRequest, call: Call
    ) -> reforge_pb2.UndoReforgeResponse:
        """Undo a move."""
        refuse_nul(request.reforge_id, request.token, request.membership_id)
        _check_undo(request)
        if request.token:
            membership_id = await self._reversal.undo_by_token(request.token)
        else:
            move = await self._reversal.find_move(reforge_id=request.reforge_id, membership_id=request.membership_id)
            membership_id = await self._reversal.undo_by_device(move, claimed_proof(call, request))
        self._mail.wake()
        return reforge_pb2.UndoReforgeResponse(status="UNDONE", membership_id=str(membership_id))

    async def change_email(
        self, request: reforge_pb2.ChangeEmailRequest, call: Call
    ) -> reforge_pb2.ChangeEmailResponse:
        """Ask for another address."""
        refuse_nul(request.membership_id, request.user_id, request.email)
        _check_change_email(request)
        email = email_address(request.email)
        change = RequestedChange(
            known_membership_id(request.membership_id),
            request.user_id,
            email,
            claimed_proof(call, request),
            call.require_user,
        )
        effective_at = await self._email_changes.ask(change)
        self._mail.wake()
        return reforge_pb2.ChangeEmailResponse(status="PENDING", effective_at=rfc3339(effective_at))

    async def refuse_email_change(
        self, request: reforge_pb2.RefuseEmailChangeRequest, call: Call
    ) -> reforge_pb2.RefuseEmailChangeResponse:
        """Refuse the change of address that a device asked for."""
        refuse_nul(request.membership_id)
        await self._email_changes.refuse(known_membership_id(request.membership_id), claimed_proof(call, request))
        return reforge_pb2.RefuseEmailChangeResponse(status="REFUSED")

    async def list_moves(self, request: reforge_pb2.ListMovesRequest, call: Call) -> reforge_pb2.ListMovesResponse:
        """List the moves and changes of address of a device's membership."""
        refuse_nul(request.membership_id)
        return await self._moves.list_moves(known_membership_id(request.membership_id), claimed_proof(call, request))


def _parse_move(request: reforge_pb2.InitReforgeRequest, call: Call) -> RequestedMove:
    """Check the request's shape. Raises InvalidRequest; NotFound for an id that is no UUID."""
    refuse_nul(
        request.membership_id, request.user_id, request.new_device_id, request.new_public_key, request.old_device_id
    )
    _check_init(request)
    if request.old_device_id == request.new_device_id:
        raise InvalidRequest("new_device_id must differ from old_device_id")
    return RequestedMove(
        new_key=_public_key(request.new_public_key),
        membership_id=known_membership_id(request.membership_id),
        user_id=request.user_id,
        old_device_id=request.old_device_id,
        new_device_id=request.new_device_id,
        asked_from=network_address(call),
        proof=claimed_proof(call, request),
        require_user=call.require_user,
    )


def _public_key(text: str) -> PublicKey:
    try:
        return public_key_from_text(text)
    except KeyRefused as refusal:
        raise InvalidRequest(f"new_public_key: {refusal.message}") from None
