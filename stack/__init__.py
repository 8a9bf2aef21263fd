"""The local stack: the whole suite on one machine, without Docker and without root.

`vyris run` and `vyris up` start it, the tests and the chaos runs drive it through `stack.local.Stack`. Everything it
keeps lies in one state folder (`.vyris/`, 0700), and no permission outside that folder is changed.
"""
