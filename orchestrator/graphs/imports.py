"""Imports users' files, each as a member of the project that it belongs to.

Modules of a project import each other by their plain names, as if the project's folders were on
`sys.path` (they are, at its end). A name may be taken: by the standard library, by an installed
package, or by another project with a `utils.py` of its own. Such a module gets a name
of its own in `sys.modules`, for example `utils__support` for a graph called `support`. In the
modules of its project, and nowhere else, `import utils` then means that one, also if it is executed
much later, inside a function.

Names depend on what the projects hold and on what the graphs are called. They are the same after a
restart, so what was stored under them can be read again. Where other projects are served than before,
the names of before lead to the modules of now.
"""

from __future__ import annotations

import builtins
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Literal

HOME = Path(__file__).resolve().parents[2]
"""Our own folder. In a checkout it lies on `sys.path`, but its names are not taken by that."""

_roots: dict[Path, Root] = {}
_appended: set[str] = set()
"""Our entries on `sys.path`."""
_names: dict[tuple[str, Path], str] = {}
"""The name in `sys.modules` of what a folder offers under a plain name."""
_places: dict[str, tuple[str, Root]] = {}
"""The reverse: a plain name and its folder, by the name in `sys.modules`."""


class Root:
    """A folder whose modules and packages are imported by their plain names.

    `label` tells its modules from others of the same name.
    """

    def __init__(self, folder: Path, label: str) -> None:
        self.folder = folder
        self.label = label
        self.search: list[Root] = [self]
        """Where its modules find others, in this order."""
        self.only: set[str] | None = set()
        """The names that count here; None for all that are found."""
        self.offers: dict[str, bool] = {}
        """Plain names; False for a mere folder, which comes after all else that has the name."""
        self.renamed: dict[str, str] = {}
        """What plain names mean for its modules, if that differs."""
        self.builtins = {**vars(builtins), "__import__": self._import}

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """The `import` statement of its modules."""
        top, dot, rest = name.partition(".")
        if level == 0:
            top = self.renamed.get(top, top)
        return builtins.__import__(top + dot + rest, globals, locals, fromlist or (), level)


class _Finder:
    """Finds what roots offer, by its name in `sys.modules`; stands first on `sys.meta_path`."""

    @staticmethod
    def find_spec(
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        top, dot, rest = name.partition(".")
        plain, root = _places.get(top, ("", None))
        if root is None:
            other = _other_name(top)
            return ModuleSpec(name, _Alias(other + dot + rest)) if other else None
        if not dot:
            path = [str(root.folder)]
        spec = _as(name, PathFinder.find_spec(name if dot else plain, path))
        if spec is not None and type(spec.loader) is SourceFileLoader and root.renamed:
            spec.loader = _Loader(name, spec.loader.path, root)
        return spec


class _Loader(SourceFileLoader):
    """Executes a module whose imports mean what they mean in its project."""

    def __init__(self, name: str, path: str, root: Root) -> None:
        super().__init__(name, path)
        self._root = root

    def exec_module(self, module: ModuleType) -> None:
        """Execute it. Python looks up `__import__` in a module's own `__builtins__`."""
        vars(module)["__builtins__"] = self._root.builtins
        super().exec_module(module)


class _Alias(Loader):
    """Gives a module that is known by another name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module itself, which may have to be executed."""
        self._module = importlib.import_module(self._name)
        self._spec = self._module.__spec__
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing but taking back what the import system has noted meanwhile."""
        module.__spec__ = self._spec


def _as(name: str, found: ModuleSpec | None) -> ModuleSpec | None:
    """What was found, under another name."""
    if found is None or (found.has_location and found.name == name):
        return found
    inside = found.submodule_search_locations
    if not found.has_location:  # a folder without `__init__.py`
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = list(inside or ())
        return spec
    return spec_from_file_location(name, found.origin, submodule_search_locations=inside)


def register(folder: Path, others: Iterable[Path], label: str, only: str | None = None) -> Root:
    """Make a folder importable. Its modules look for others in it first, then in `others`.

    `only` is the one package that counts, if the folder merely happens to be the one around it.
    Register all folders before anything is imported: which names are taken depends on all of them.
    """
    roots = [_root(one, label) for one in dict.fromkeys((folder, *others))]
    for root in roots:
        searched = roots if root is roots[0] else roots[1:]
        root.search += [one for one in searched if one not in root.search]
        if root is not roots[0] or only is None:
            root.only = None
        elif root.only is not None:
            root.only.add(only)
    return roots[0]


def _root(folder: Path, label: str) -> Root:
    """The root of a folder, made at its first use, with a label that no other root has."""
    if folder not in _roots:
        taken = {root.label for root in _roots.values()}
        label = base = re.sub(r"\W", "_", label)
        number = 1
        while label in taken:
            number += 1
            label = f"{base}_{number}"
        _roots[folder] = Root(folder, label)
    return _roots[folder]


def import_from(root: Root, name: str) -> ModuleType:
    """A module of a root, by the name that it has for its neighbours. Raises what it raises."""
    _settle()
    top, dot, rest = name.partition(".")
    return importlib.import_module(_names.get((top, root.folder), top) + dot + rest)


def home_of(name: str, roots: Iterable[Root]) -> Root | None:
    """The first of some roots that offers the top-level package of a dotted name."""
    _settle()
    top = name.partition(".")[0]
    return next((root for root in roots if top in root.offers), None)


def _settle() -> None:
    """Look at what all roots offer now, and name it. What has a name already keeps it."""
    importlib.invalidate_caches()
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
    for root in _roots.values():
        root.offers = _offers(root)
    for root in _roots.values():
        for plain in root.offers:
            if (plain, root.folder) not in _names:
                known = _names[plain, root.folder] = _name_for(plain, root)
                _places[known] = (plain, root)
    for root in _roots.values():
        meanings = dict(_meanings(root))
        root.renamed = {plain: known for plain, known in meanings.items() if plain != known}
        if root.only is None and str(root.folder) not in sys.path:  # for processes that are started
            sys.path.append(str(root.folder))
            _appended.add(str(root.folder))


def _offers(root: Root) -> dict[str, bool]:
    """What a folder holds, by plain names; False for a folder that is no package."""
    found = {module.name: True for module in pkgutil.iter_modules([str(root.folder)])}
    for entry in root.folder.iterdir() if root.folder.is_dir() else ():
        if entry.name.isidentifier() and entry.is_dir() and _counts(entry.name, root.folder):
            found.setdefault(entry.name, False)
    chosen = found.keys() if root.only is None else root.only & found.keys()
    ours = "antiphon" if root.folder == HOME else None
    return {name: found[name] for name in chosen if not name.startswith("__") and name != ours}


def _counts(name: str, folder: Path) -> bool:
    """Whether a name means a folder that is no package: a real module comes first."""
    return (name, folder) in _names or _owner(name, folder) != "others"


def _name_for(plain: str, root: Root) -> str:
    """The plain name, if nobody else has it."""
    owner = _owner(plain, root.folder)
    if owner == "folder" and plain in sys.modules:  # it is imported already, by whoever uses us
        return plain
    others = (other for other in _roots.values() if other is not root)
    taken = plain in sys.stdlib_module_names or any(plain in other.offers for other in others)
    return f"{plain}__{root.label}" if taken or plain in _places or owner == "others" else plain


def _meanings(root: Root) -> Iterator[tuple[str, str]]:
    """What plain names mean for the modules of a root. The standard library keeps its names."""
    for regular in (False, True):  # later ones take the place of earlier ones
        for home in reversed(root.search):
            for plain, is_regular in home.offers.items():
                if is_regular is regular and plain not in sys.stdlib_module_names:
                    yield plain, _names[plain, home.folder]


def _owner(name: str, folder: Path) -> Literal["nobody", "folder", "others"]:
    """Who has a name, for code that belongs to no project."""
    spec = _found_by_others(name)
    if spec is None:
        return "others" if name in sys.modules and name not in _places else "nobody"
    places = [spec.origin or ""] if spec.has_location else spec.submodule_search_locations or ()
    here = any(Path(place).resolve().parent in (folder, folder / name) for place in places)
    return "folder" if here else "others"


def _found_by_others(name: str) -> ModuleSpec | None:
    if name in sys.modules and name not in _places:
        return getattr(sys.modules[name], "__spec__", None)
    path = [one for one in sys.path if one not in _appended and Path(one).resolve() != HOME]
    for finder in sys.meta_path:
        if finder is _Finder:
            continue
        spec = finder.find_spec(name, path if finder is PathFinder else None)
        if spec is not None:
            return spec
    return None


def _other_name(top: str) -> str | None:
    """The present name of a module that had this one when other projects were served.

    A plain name that several projects have by now is the first one's, unless others have it too.
    """
    for root in _roots.values():
        plain = top.removesuffix(f"__{root.label}")
        if plain != top and (known := _names.get((plain, root.folder))):
            return known
    shared = [name for root in _roots.values() if (name := _names.get((top, root.folder)))]
    if not shared or top in sys.stdlib_module_names:
        return None
    is_alias = top in sys.modules and sys.modules[top] is sys.modules.get(shared[0])
    return shared[0] if is_alias or _found_by_others(top) is None else None


def member_of(file: Path) -> tuple[Path, str]:
    """The folder and the dotted name by which a file is imported: in its package, if it has one."""
    folder, parts = file.parent, [] if file.stem == "__init__" else [file.stem]
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder, parts = folder.parent, [folder.name, *parts]
    return folder, ".".join(parts)
