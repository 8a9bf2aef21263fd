"""Reforge moves a membership to a new device, if its owner confirms. README.md lists the promises."""
