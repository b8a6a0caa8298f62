"""Imports users' files, each as a member of its own project.

Modules of a project import each other by their plain names, as if the project's folders were on
`sys.path` (they are, at its end). A name may be taken by the standard library, by an installed
package, or by another project with a `utils.py` of its own. The module then gets a distinct name in
`sys.modules`, for example `utils__support` for a graph called `support`. In the modules of its
project, and nowhere else, `import utils` then means that module, even if the statement is executed
much later, inside a function.

Names depend on the contents of the projects and on the names of the graphs. They are the same after
a restart, so that objects stored under them can be read again. If other projects are served than
before, the earlier names are aliases of the present modules.
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
"""Our own folder. In a checkout it is on `sys.path`, but that does not make its names taken."""

_roots: dict[Path, Root] = {}
_appended: set[str] = set()
"""Our entries on `sys.path`."""
_names: dict[tuple[str, Path], str] = {}
"""The name in `sys.modules`, by plain name and folder."""
_places: dict[str, tuple[str, Root]] = {}
"""The reverse: a plain name and its root, by the name in `sys.modules`."""


class Root:
    """A folder whose modules and packages are imported by their plain names.

    `label` distinguishes its modules from others of the same name.
    """

    def __init__(self, folder: Path, label: str) -> None:
        self.folder = folder
        self.label = label
        self.search: list[Root] = [self]
        """The roots in which its modules find others, in this order."""
        self.only: set[str] | None = set()
        """The plain names that are importable from here; None for all."""
        self.offers: dict[str, bool] = {}
        """Plain names; False for a folder that is not a package: any module takes precedence."""
        self.renamed: dict[str, str] = {}
        """Plain names that its modules import under a different name in `sys.modules`."""
        self.builtins = {**vars(builtins), "__import__": self._import}

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Execute an `import` statement of its modules."""
        top, dot, rest = name.partition(".")
        if level == 0:
            top = self.renamed.get(top, top)
        return builtins.__import__(top + dot + rest, globals, locals, fromlist or (), level)


class _Finder:
    """Finds modules of roots by their names in `sys.modules`; the first of `sys.meta_path`."""

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
        spec = _renamed(name, PathFinder.find_spec(name if dot else plain, path))
        if spec is not None and type(spec.loader) is SourceFileLoader and root.renamed:
            spec.loader = _Loader(name, spec.loader.path, root)
        return spec


class _Loader(SourceFileLoader):
    """Executes a module whose imports are resolved in its project."""

    def __init__(self, name: str, path: str, root: Root) -> None:
        super().__init__(name, path)
        self._root = root

    def exec_module(self, module: ModuleType) -> None:
        """Execute a module. Python looks up `__import__` in the module's own `__builtins__`."""
        vars(module)["__builtins__"] = self._root.builtins
        super().exec_module(module)


class _Alias(Loader):
    """Loads a module that has another name by now."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module itself, importing it if necessary."""
        self._module = importlib.import_module(self._name)
        self._spec = self._module.__spec__
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Restore the spec, which the import system has replaced."""
        module.__spec__ = self._spec


def _renamed(name: str, spec: ModuleSpec | None) -> ModuleSpec | None:
    """Return a module's spec under another name."""
    if spec is None or (spec.has_location and spec.name == name):
        return spec
    inside = spec.submodule_search_locations
    if spec.has_location:
        return spec_from_file_location(name, spec.origin, submodule_search_locations=inside)
    package = ModuleSpec(name, None, is_package=True)  # a folder without `__init__.py`
    package.submodule_search_locations = list(inside or ())
    return package


def register(folder: Path, others: Iterable[Path], label: str, only: str | None = None) -> Root:
    """Make a folder importable. Its modules look for others in it first, then in `others`.

    `only` names the single package to import from the folder, if the rest of it is not part of the
    project. Register all folders before importing anything: which names are taken depends on all.
    """
    roots = [_root(path, label) for path in dict.fromkeys((folder, *others))]
    for root in roots:
        searched = roots if root is roots[0] else roots[1:]
        root.search += [other for other in searched if other not in root.search]
        if root is not roots[0] or only is None:
            root.only = None
        elif root.only is not None:
            root.only.add(only)
    return roots[0]


def _root(folder: Path, label: str) -> Root:
    """Return the root of a folder, made at its first use, with a label of its own."""
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
    """Import a module of a root by its plain name. Raises whatever the module raises."""
    _settle()
    top, dot, rest = name.partition(".")
    return importlib.import_module(_names.get((top, root.folder), top) + dot + rest)


def home_of(name: str, roots: Iterable[Root]) -> Root | None:
    """Return the first root that has the top-level package of a dotted name."""
    _settle()
    top = name.partition(".")[0]
    return next((root for root in roots if top in root.offers), None)


def _settle() -> None:
    """Read the contents of all roots and name them. What already has a name keeps it."""
    importlib.invalidate_caches()
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
    for root in _roots.values():
        root.offers = _offers(root)
    for root in _roots.values():
        for plain in root.offers:
            if (plain, root.folder) not in _names:
                name = _name_for(plain, root)
                _names[plain, root.folder] = name
                _places[name] = (plain, root)
    for root in _roots.values():
        meanings = dict(_meanings(root))
        root.renamed = {plain: name for plain, name in meanings.items() if plain != name}
        if root.only is None and str(root.folder) not in sys.path:  # for child processes
            sys.path.append(str(root.folder))
            _appended.add(str(root.folder))


def _offers(root: Root) -> dict[str, bool]:
    """Return the plain names in a folder; False for a folder that is not a package."""
    names = {module.name: True for module in pkgutil.iter_modules([str(root.folder)])}
    for entry in root.folder.iterdir() if root.folder.is_dir() else ():
        if entry.name.isidentifier() and entry.is_dir() and _counts(entry.name, root.folder):
            names.setdefault(entry.name, False)
    chosen = names.keys() if root.only is None else root.only & names.keys()
    ours = "antiphon" if root.folder == HOME else None
    return {name: names[name] for name in chosen if not name.startswith("__") and name != ours}


def _counts(name: str, folder: Path) -> bool:
    """Return whether a name can mean a folder that is not a package: a module comes first."""
    return (name, folder) in _names or _owner(name, folder) != "others"


def _name_for(plain: str, root: Root) -> str:
    """Return the plain name if it is free, else one with the label of the root."""
    owner = _owner(plain, root.folder)
    if owner == "folder" and plain in sys.modules:  # our caller has imported it already
        return plain
    others = (other for other in _roots.values() if other is not root)
    taken = plain in sys.stdlib_module_names or any(plain in other.offers for other in others)
    return f"{plain}__{root.label}" if taken or plain in _places or owner == "others" else plain


def _meanings(root: Root) -> Iterator[tuple[str, str]]:
    """Yield plain names and what they mean in a root. The standard library keeps its names."""
    for regular in (False, True):  # later ones take the place of earlier ones
        for home in reversed(root.search):
            for plain, is_regular in home.offers.items():
                if is_regular is regular and plain not in sys.stdlib_module_names:
                    yield plain, _names[plain, home.folder]


def _owner(name: str, folder: Path) -> Literal["free", "folder", "others"]:
    """Return what a name means for code that belongs to no project."""
    spec = _found_by_others(name)
    if spec is None:
        return "others" if name in sys.modules and name not in _places else "free"
    places = [spec.origin or ""] if spec.has_location else spec.submodule_search_locations or ()
    here = any(Path(place).resolve().parent in (folder, folder / name) for place in places)
    return "folder" if here else "others"


def _found_by_others(name: str) -> ModuleSpec | None:
    if name in sys.modules and name not in _places:
        return getattr(sys.modules[name], "__spec__", None)
    path = [entry for entry in sys.path if entry not in _appended and Path(entry).resolve() != HOME]
    for finder in sys.meta_path:
        if finder is _Finder:
            continue
        spec = finder.find_spec(name, path if finder is PathFinder else None)
        if spec is not None:
            return spec
    return None


def _other_name(top: str) -> str | None:
    """Return the present name of a module that had this name when other projects were served.

    If several projects have the plain name by now, it means the first project's module, unless
    code outside the projects has the name too.
    """
    for root in _roots.values():
        plain = top.removesuffix(f"__{root.label}")
        if plain != top and (plain, root.folder) in _names:
            return _names[plain, root.folder]
    names = [_names[top, folder] for folder in _roots if (top, folder) in _names]
    if not names or top in sys.stdlib_module_names:
        return None
    is_alias = top in sys.modules and sys.modules[top] is sys.modules.get(names[0])
    return names[0] if is_alias or _found_by_others(top) is None else None


def member_of(file: Path) -> tuple[Path, str]:
    """Return the folder and the dotted name to import a file by: in its package, if it has one."""
    folder, parts = file.parent, [] if file.stem == "__init__" else [file.stem]
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder, parts = folder.parent, [folder.name, *parts]
    return folder, ".".join(parts)
