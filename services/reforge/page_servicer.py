"""The pages behind the links in mails: GET shows a form, POST acts, and every error is a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qs

from google.api.httpbody_pb2 import HttpBody

from services.data.storage.database import Database
from services.reforge.confirmation import Confirmation, require_confirmable
from services.reforge.device_email_changes import DeviceEmailChanges, require_confirmable_change
from services.reforge.lookups import find_request, find_subject
from services.reforge.mail_facts import format_membership, format_time, request_facts
from services.reforge.mail_worker import MailWorker
from services.reforge.pages import Page, Pages
from services.reforge.reversal import Reversal, require_refusable_change, require_undoable
from services.reforge.rows import EmailChange
from services.reforge.statements import read_email_change
from services.reforge.tokens import Purpose
from services.server.runtime.call import HTTP_STATUS_KEY, Call
from services.server.runtime.fields import refuse_nul
from vyris.errors import InvalidRequest, Unauthorized
from vyris.reforge.v1 import reforge_pb2

FORM_TYPE: Final = "application/x-www-form-urlencoded"
FORM_LIMIT_BYTES: Final = 2_048
FIELDS_LIMIT: Final = 4

Work = Callable[[str], Awaitable[Page]]


class PageServicer:
    """Serves the pages. They show and do the same as the API's methods."""

    def __init__(
        self,
        database: Database,
        confirmation: Confirmation,
        reversal: Reversal,
        email_changes: DeviceEmailChanges,
        pages: Pages,
        mail: MailWorker,
    ) -> None:
        self._database = database
        self._confirmation = confirmation
        self._reversal = reversal
        self._email_changes = email_changes
        self._pages = pages
        self._mail = mail

    async def show_confirm_page(self, request: reforge_pb2.ShowPageRequest, call: Call) -> HttpBody:
        """Show the form that confirms. Changes nothing, so mail scanners may open it."""
        return await self._answer(call, request.token, self._confirm_form)

    async def submit_confirm_page(self, request: reforge_pb2.SubmitPageRequest, call: Call) -> HttpBody:
        """Confirm a move or a change of address."""

        async def confirm(token: str) -> Page:
            change = await self._email_changes.find_change(token)
            if change is not None:
                await self._email_changes.confirm(token)
                self._mail.wake()
                return Page("email_confirmed", _change_facts(change))
            code = form.get("confirmation_code", "")
            refuse_nul(code)
            try:
                await self._confirmation.confirm(token, code)
            except (InvalidRequest, Unauthorized) as refusal:
                page = await self._confirm_form(token, problem=refusal.message)
                return Page(page.template, page.facts, status=refusal.http_status)
            self._mail.wake()
            return Page("confirmed", {})

        form = self._form(request)
        return await self._answer(call, form.get("token", ""), confirm)

    async def show_refuse_page(self, request: reforge_pb2.ShowPageRequest, call: Call) -> HttpBody:
        """Show the form that refuses. Changes nothing."""
        return await self._answer(call, request.token, self._refuse_form)

    async def submit_refuse_page(self, request: reforge_pb2.SubmitPageRequest, call: Call) -> HttpBody:
        """Refuse a move or a change of address."""

        async def refuse(token: str) -> Page:
            await self._reversal.refuse_by_token(token)
            self._mail.wake()
            return Page("refused", {})

        form = self._form(request)
        return await self._answer(call, form.get("token", ""), refuse)

    async def show_undo_page(self, request: reforge_pb2.ShowPageRequest, call: Call) -> HttpBody:
        """Show the form that undoes a move. Changes nothing."""
        return await self._answer(call, request.token, self._undo_form)

    async def submit_undo_page(self, request: reforge_pb2.SubmitPageRequest, call: Call) -> HttpBody:
        """Undo the move."""

        async def undo(token: str) -> Page:
            await self._reversal.undo_by_token(token)
            self._mail.wake()
            return Page("undone", {})

        form = self._form(request)
        return await self._answer(call, form.get("token", ""), undo)

    async def _confirm_form(self, token: str, problem: str = "") -> Page:
        change = await self._email_changes.find_change(token)
        if change is not None:
            require_confirmable_change(change)
            return Page("confirm_email", {**_change_facts(change), "token": token})
        request = await find_request(self._database, Purpose.MOVE, token)
        require_confirmable(request)
        return Page("confirm", {**request_facts(request), "token": token, "problem": problem})

    async def _refuse_form(self, token: str) -> Page:
        found = await find_subject(self._database, Purpose.REFUSE_EMAIL, token)
        if found is not None:
            change = await read_email_change(self._database, found.id)
            require_refusable_change(change)
            return Page("keep_email", {**_change_facts(change), "token": token})
        request = await find_request(self._database, Purpose.MOVE, token)
        require_confirmable(request)
        return Page("refuse", {**request_facts(request), "token": token})

    async def _undo_form(self, token: str) -> Page:
        request = await find_request(self._database, Purpose.UNDO, token)
        undo_until = require_undoable(request)
        facts = {**request_facts(request), "undo_until": format_time(undo_until), "token": token}
        return Page("undo", facts)

    def _form(self, request: reforge_pb2.SubmitPageRequest) -> dict[str, str]:
        """Parse the posted form. A body that is not a form gives no fields, and so no token."""
        form: Any = request.form
        if form.content_type.split(";")[0].strip().lower() != FORM_TYPE or len(form.data) > FORM_LIMIT_BYTES:
            return {}
        try:
            fields = parse_qs(form.data.decode("ascii"), max_num_fields=FIELDS_LIMIT)
        except ValueError:
            return {}
        return {name: values[0] for name, values in fields.items()}

    async def _answer(self, call: Call, token: str, work: Work) -> HttpBody:
        try:
            if not token:
                raise InvalidRequest("This address is incomplete; open the link in the mail once more")
            refuse_nul(token)
            page = await work(token)
        except Exception as error:
            refusal = call.refusal_of(error)
            page = Page("problem", {"reason": refusal.reason, "message": refusal.message}, status=refusal.http_status)
        body = self._pages.render(page)
        await call.answer_headers((HTTP_STATUS_KEY, str(page.status)), *self._pages.headers)
        return HttpBody(content_type="text/html; charset=utf-8", data=body)


def _change_facts(change: EmailChange) -> dict[str, Any]:
    return {
        "membership": format_membership(change),
        "asked_at": format_time(change.created_at),
        "effective_at": format_time(change.applied_at or change.effective_at),
        "applied": change.applied_at is not None,
        "warned": change.old_email is not None,
    }
