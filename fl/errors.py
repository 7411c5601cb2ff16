"""Every error this project raises on purpose.

NetGPTError                 what was expected, what was found, what to do
├── SettingsError           a configuration file or a key=value override
├── BookError               a site's prompt book (names file and line)
├── BaseModelError          a base model folder or hub name
├── AdapterError            an adapter's spec, tensors or folder
│   └── UpdateRefused       a site's update did not pass admission
├── ReleaseError            a release folder or alias
├── LongTextError           a text that the edge model cannot read whole; never quotes it
├── ProfileError            a person's profile at a site; never quotes it
│   └── UnknownPerson       there is none
├── ActionError             an intent that becomes no management action, or one not to be applied
├── FederationError         a round or a run that cannot go on
└── GenerationError         the cloud's generation endpoint; carries a gRPC status name
"""


class NetGPTError(Exception):
    """Base of all errors whose text is written for the person who reads it."""


class SettingsError(NetGPTError, ValueError):
    """A setting is unknown, malformed or contradicts another."""


class BookError(NetGPTError, ValueError):
    """A prompt book cannot be read; the text names the file, the line and the remedy."""


class BaseModelError(NetGPTError, ValueError):
    """A base model cannot be found, or is not what the configuration needs."""


class AdapterError(NetGPTError, ValueError):
    """An adapter does not have the spec, names, shapes or values it must have."""


class UpdateRefused(AdapterError):
    """A site's update failed admission; the round goes on without it."""


class ReleaseError(NetGPTError, ValueError):
    """A release is missing, incomplete or does not match its manifest."""


class LongTextError(NetGPTError, ValueError):
    """A text is longer than the edge model reads. `index` is its place among those given."""

    def __init__(self, index: int, *, found: int, most: int) -> None:
        """`found` and `most` are tokens."""
        super().__init__(
            f"The text has {found} tokens; this model reads {most} at most. Shorten or split it."
        )
        self.index = index


class ProfileError(NetGPTError, ValueError):
    """A person's profile is not what it must be. No text of it stands in the error."""


class UnknownPerson(ProfileError):
    """A site has no profile of a person. The name is the asker's and is not repeated."""

    def __init__(self) -> None:
        super().__init__(
            "This site has no profile of that person. ./run.sh profile list names those it has; "
            "profile set makes one."
        )


class ActionError(NetGPTError, ValueError):
    """A management action cannot be made, or must not be applied. Quotes no text of a request."""


class FederationError(NetGPTError, RuntimeError):
    """A round or a whole run could not be carried out."""


class GenerationError(NetGPTError, RuntimeError):
    """The cloud refused or failed a request. `status` is a gRPC status name."""

    def __init__(self, message: str, *, status: str = "INTERNAL") -> None:
        super().__init__(message)
        self.status = status
