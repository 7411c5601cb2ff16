"""What a task changes in the settings: configs/tasks/TASK.yaml, wherever nobody says otherwise.

    base.yaml < configs/tasks/TASK.yaml < the chosen file < the command line

The same holds whether settings are loaded for a task or turned to another one later, so that cloud
and sites mean the same by the same words. One base has one LoRA scale: where a task has a rank of
its own, alpha grows or shrinks with it.
"""

from collections.abc import Callable, Collection, Iterator

from omegaconf import DictConfig, OmegaConf

from fl.tasks import BY_PRODUCTS

RANK, ALPHA = "learning.rank", "learning.alpha"

Read = Callable[[str], DictConfig]  # a file below configs/, by its name there


def turned(
    settings: DictConfig, *, before: str, after: str, told: Collection[str], read: Read
) -> DictConfig:
    """Whole settings of the task `before` as they are for `after`.

    `told` are the dotted keys that the chosen file or the command line says.
    """
    base, changes = read("base.yaml"), DictConfig({"task": after})
    for key in _changes(before, told, read):
        OmegaConf.update(changes, key, OmegaConf.select(base, key))
    for key, value in _changes(after, told, read).items():
        OmegaConf.update(changes, key, value)
    rank = OmegaConf.select(settings, RANK)
    if rank and (its_rank := OmegaConf.select(changes, RANK)):
        OmegaConf.update(changes, ALPHA, OmegaConf.select(settings, ALPHA) * its_rank / rank)
    found = OmegaConf.merge(settings, changes)
    assert isinstance(found, DictConfig)
    return found


def dotted(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all that is no mapping itself."""
    for key in node:
        name, inner = prefix + str(key), node._get_node(key)
        if isinstance(inner, DictConfig) and len(inner):
            yield from dotted(inner, name + ".")
        else:
            yield name


def _changes(task: str, told: Collection[str], read: Read) -> dict[str, object]:
    """Dotted key -> value of what a by-product changes; nothing for any other task."""
    if task not in BY_PRODUCTS:
        return {}
    its = read(f"tasks/{task}.yaml")
    return {
        key: OmegaConf.select(its, key) for key in dotted(its) if key != "task" and key not in told
    }
