"""Reforge: a membership moves to a new device, and to nobody else.

What it promises:

- At most one device is active per membership, whatever is asked at once.
- A token works once, reaches the owner's mailbox alone, and stands nowhere in clear.
- An accepted request's mail is sent at least once, always with the same Message-ID,
  and none is sent for a request that was rolled back.
- Until some hours after a move, the old device or the mailbox can take it back.

Rooms: `initiation`, `confirmation` and `reversal` are the moves' transactions,
`email_changes` the address's; `outbox` keeps mail, `mail_worker` sends it,
`mail_messages` and `pages` write what people read; `housekeeping` forgets.
"""
