"""Bearer tokens of an identity provider: a call that names a `user_id` is made by that user, and can show it."""

from services.user_tokens.settings import UserTokenSettings
from services.user_tokens.verification import UserTokens, opened_user_tokens

__all__ = ["UserTokenSettings", "UserTokens", "opened_user_tokens"]
