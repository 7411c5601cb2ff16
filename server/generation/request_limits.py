"""What a request may ask of a model; everything is checked before the engine sees it."""

from fl.errors import GenerationError
from fl.generation import GenerationRequest
from fl.settings import EngineSettings, ServiceSettings
from server.generation.loading import LanguageModel

# A token is hardly ever longer; a text beyond it is refused without being tokenised.
LONGEST_TOKEN = 64  # characters


def prompt_ids(
    request: GenerationRequest, model: LanguageModel, service: ServiceSettings
) -> list[int]:
    """Token ids of the prompt as the model reads it. Raises GenerationError (INVALID_ARGUMENT)."""
    limit = service.max_prompt_tokens
    characters = len(request.prompt) + sum(len(turn.content) for turn in request.history)
    if characters > LONGEST_TOKEN * limit:
        raise _refused(f"the prompt has {characters} characters, the limit is {limit} tokens")
    ids = model.tokens.prompt_ids(request)
    if len(ids) > limit:
        raise _refused(f"the prompt has {len(ids)} tokens, the limit is {limit}")
    if not ids:
        raise _refused("the prompt has no token the model could go on from")
    if max(ids) >= model.vocabulary:
        raise _refused("the prompt holds a special token the model does not have")
    return ids


def most_new_tokens(
    request: GenerationRequest,
    prompt_tokens: int,
    model: LanguageModel,
    service: ServiceSettings,
    engine: EngineSettings,
) -> int:
    """How long the answer may be, in tokens. Raises GenerationError (INVALID_ARGUMENT)."""
    # the last token is written, but not read again
    room = min(model.positions, engine.cache_tokens + 1) - prompt_tokens
    allowed = min(service.max_new_tokens, max(room, 0))
    wanted = request.max_new_tokens
    if allowed < 1 or (wanted is not None and wanted > allowed):
        raise _refused(
            f"max_new_tokens is {wanted}, at most {allowed} can be written after a prompt of "
            f"{prompt_tokens} tokens"
        )
    return allowed if wanted is None else wanted


def check_written(request: GenerationRequest, model: LanguageModel, most_new: int) -> None:
    """Refuse tokens that no answer begins with. Raises GenerationError (INVALID_ARGUMENT)."""
    if len(request.written) > most_new:
        raise _refused(
            f"{len(request.written)} tokens are said to be written, at most {most_new} can be"
        )
    if any(i >= model.vocabulary or i in model.end_ids for i in request.written):
        raise _refused("what is said to be written holds an end mark, or no token of the model")


def _refused(why: str) -> GenerationError:
    return GenerationError(f"Refused: {why}.", status="INVALID_ARGUMENT")
