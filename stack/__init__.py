"""The local stack: the whole suite on one machine, without Docker and without root.

`vyris run` and `vyris up` start it; the tests and the chaos runs control it with `stack.local.Stack`. All its files are
in one state folder (`.vyris/`, 0700), and it changes no permission outside that folder.
"""
