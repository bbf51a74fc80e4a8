"""A sparse matrix with the same number of taps in every row, and its exact transpose, in torch."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F


class TapMatrix:
    """Rows of ``taps`` weighted look-ups into ``columns`` entries, for many right-hand sides.

    Both directions are gathers (``embedding_bag`` with weights), hence deterministic and without
    atomic additions. ``embedding_bag`` is missing on some devices (MPS); there the forward product
    is a sum over taps and the transpose a scatter.

    :param index: int ``(rows, taps)``, values in ``[0, columns)``.
    :param weight: float ``(rows, taps)``.
    :param columns: length of the vectors that the matrix is applied to.
    :param device: where the product runs.
    """

    def __init__(
        self, index: np.ndarray, weight: np.ndarray, columns: int, device: torch.device
    ) -> None:
        self.rows, self.columns = len(index), columns
        self.use_bags = device.type in ("cpu", "cuda")
        self.index = torch.from_numpy(index.astype(np.int32, copy=False)).to(device)
        self.weight = torch.from_numpy(weight.astype(np.float32, copy=False)).to(device)

    @cached_property
    def _bags(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Starts, indices and weights of the transpose; many matrices never need it."""
        shape, taps = (self.rows, self.columns), self.index.shape[1]
        transposed = sp.csr_matrix(
            (
                self.weight.cpu().numpy().ravel(),
                self.index.cpu().numpy().ravel(),
                np.arange(0, self.rows * taps + 1, taps),
            ),
            shape=shape,
        ).tocsc()
        transposed.eliminate_zeros()
        start, index = (
            torch.from_numpy(part.astype(np.int32)).to(self.index.device)
            for part in (transposed.indptr, transposed.indices)
        )
        return start, index, torch.from_numpy(transposed.data).to(self.index.device)

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        """``(columns, width)`` -> ``(rows, width)``, float32."""
        if self.use_bags:
            return F.embedding_bag(self.index, dense, mode="sum", per_sample_weights=self.weight)
        out = dense.new_zeros(self.rows, dense.shape[1])
        for tap in range(self.index.shape[1]):
            out += dense[self.index[:, tap].long()] * self.weight[:, tap, None]
        return out

    def transpose(self, dense: torch.Tensor) -> torch.Tensor:
        """``(rows, width)`` -> ``(columns, width)``, float32; the exact transpose of `forward`."""
        if self.use_bags:
            start, index, weight = self._bags
            return F.embedding_bag(
                index,
                dense,
                start,
                mode="sum",
                per_sample_weights=weight,
                include_last_offset=True,
            )
        out = dense.new_zeros(self.columns, dense.shape[1])
        for tap in range(self.index.shape[1]):
            out.index_add_(0, self.index[:, tap].long(), dense * self.weight[:, tap, None])
        return out
