"""Why a node does not start, in sentences. Raised while it is built, told to its starter by node/main.py."""


class StartError(RuntimeError):
    """This node cannot start; the text says why and what to do, so that no traceback is needed."""


class JoinError(StartError):
    """The head cannot be reached or refuses this node; the text says what to do."""
