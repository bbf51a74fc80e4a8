"""The connection between a parameter node and a panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import vtk


class ParameterLink:
    """Keeps a panel's widgets and a parameter node alike; none while the panel is closed.

    :param ui: the widgets. :param observer: the panel, a ``VTKObservationMixin``.
    :param onChange: called when the node, or a value in it, is another.
    """

    def __init__(self, ui: Any, observer: Any, onChange: Callable[..., None]) -> None:
        self.node: Any = None
        self._ui, self._observer, self._onChange = ui, observer, onChange
        self._tag: int | None = None

    def connect(self, node: Any) -> None:
        """Show this parameter node, or none."""
        if self.node:
            self.node.disconnectGui(self._tag)
            self._observer.removeObserver(self.node, vtk.vtkCommand.ModifiedEvent, self._onChange)
        self.node = node
        if node:
            # Not connectGui: in Slicer 5.8 it keeps the tag, without which the old connection stays
            # alive and, when combo boxes are filled anew, sets their parameters to the last choice.
            bound = {one.property("SlicerParameterName"): one for one in vars(self._ui).values()}
            bound.pop(None, None)
            self._tag = node.connectParametersToGui(bound)
            self._observer.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onChange)
        self._onChange()


class RegistryChoice:
    """A combo box for a parameter whose choices a registry of the library knows.

    ``parameterNodeWrapper`` binds fixed choices only, those of an enumeration.

    :param combo: the combo box. :param parameter: name in the parameter node; holds a str.
    """

    def __init__(self, combo: Any, parameter: str) -> None:
        self._combo, self._parameter = combo, parameter
        self._labels: dict[str, str] = {}
        self._parameters: Any = None
        combo.connect("currentIndexChanged(int)", self._onChosen)

    def show(self, parameters: Any, labels: Mapping[str, str]) -> None:
        """Offer choices and show the chosen one, or none where it is not among them.

        :param labels: value -> what the user reads.
        """
        self._parameters = None  # what changes now was not chosen by the user
        if labels != self._labels:
            self._labels = dict(labels)
            self._combo.clear()
            self._combo.addItems(list(labels.values()))
        value = getattr(parameters, self._parameter) if parameters else None
        self._combo.setCurrentIndex(list(labels).index(value) if value in labels else -1)
        self._combo.enabled = bool(labels)
        self._parameters = parameters

    def _onChosen(self, index: int) -> None:
        if self._parameters and index >= 0:
            setattr(self._parameters, self._parameter, list(self._labels)[index])
