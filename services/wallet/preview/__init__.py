"""How a pass looks, for people without a phone at hand: as a page (`html`) and as a picture (`png`).

Both draw what is inside the given `.pkpass`, not what was meant to be inside.
"""
