"""Bearer tokens of an identity provider: they prove that a call with a `user_id` comes from that user."""

from services.identity.user_tokens.settings import UserTokenSettings
from services.identity.user_tokens.verification import UserTokens, opened_user_tokens

__all__ = ["UserTokenSettings", "UserTokens", "opened_user_tokens"]
