"""Show a pass without a phone: as a page (`html`) and as a picture (`png`). Both read the given `.pkpass`."""
