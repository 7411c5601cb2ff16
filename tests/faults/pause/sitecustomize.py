"""Stops a process at an exact point, so that a test can kill it there. Python imports this file at
its start when the folder is on PYTHONPATH; the product knows nothing of it.

    PAUSE_AT = "module:Class.method:n:/path/of/flag"

At the n-th call of the method in one process the flag file is made (once, whichever process comes
first) and the process sleeps until it is killed. A process that finds the flag goes on.
"""

import importlib.abc
import importlib.util
import os
import sys
import time


class _Watch(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets the module load as always, then wraps the method."""

    def __init__(self, module, path, nth, flag):
        self.module, self.path, self.nth, self.flag = module, path.split("."), int(nth), flag
        self.inner = None

    def find_spec(self, name, path, target=None):
        if name != self.module or self.inner is not None:
            return None
        self.inner = True  # so that the real finders are asked now
        spec = importlib.util.find_spec(name)
        self.inner = spec.loader
        spec.loader = self
        return spec

    def create_module(self, spec):
        return self.inner.create_module(spec)

    def exec_module(self, module):
        self.inner.exec_module(module)
        owner = module
        for part in self.path[:-1]:
            owner = getattr(owner, part)
        original, calls = getattr(owner, self.path[-1]), 0

        def paused(*arguments, **named):
            nonlocal calls
            calls += 1
            if calls == self.nth and not os.path.exists(self.flag):
                with open(self.flag, "x"):
                    pass
                time.sleep(600)
            return original(*arguments, **named)

        setattr(owner, self.path[-1], paused)


if wanted := os.environ.get("PAUSE_AT"):
    sys.meta_path.insert(0, _Watch(*wanted.split(":", 3)))
