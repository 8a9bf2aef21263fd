"""Encounter records once that two members met. README.md lists the promises."""
