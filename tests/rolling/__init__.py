"""Replace every process under load, as in a release; no caller may notice."""
