"""Disentangled attention written out (DeBERTa, arXiv:2006.03654, section 3.1, equation 4): the readable form.

A_ij = (q_i.k_j + q_i.kr[row(i - j)] + qr[row(i - j)].k_j) * scale. The kernel's ``attention.h`` computes the
same without ever writing the scores of all pairs.

Shape letters: B batch, N heads, T tokens that ask, L tokens, H head width, R rows of the relative table.
"""

import numpy as np
import numpy.typing as npt

from .maths import Floats, softmax


def disentangled_attention(
    q_BNTH: Floats,
    k_BNLH: Floats,
    v_BNLH: Floats,
    *,
    key_NRH: Floats | None,
    query_NRH: Floats | None,
    row_TL: npt.NDArray[np.int64],
    may_see: npt.NDArray[np.bool_] | None,
    scale: float,
) -> Floats:
    """Let every asking token look at the others.

    Args:
        q_BNTH: queries of the content, of the first T tokens.
        k_BNLH: keys of the content.
        v_BNLH: values.
        key_NRH: keys of the relative table (content to position, c2p); None without that term.
        query_NRH: queries of the relative table (position to content, p2c), likewise.
        row_TL: ``[i, j] = row(i - j)``, the row of the table for each pair.
        may_see: broadcastable to ``(B, N, T, L)``; None for everywhere.
        scale: the factor of every score.

    Returns:
        ``(B, N, T, H)``.
    """
    score_BNTL = q_BNTH @ k_BNLH.swapaxes(-1, -2)
    row = row_TL[None, None]
    if key_NRH is not None:
        c2p_BNTR = q_BNTH @ key_NRH.swapaxes(-1, -2)
        score_BNTL = score_BNTL + np.take_along_axis(c2p_BNTR, row, axis=-1)
    if query_NRH is not None:
        p2c_BNRL = query_NRH @ k_BNLH.swapaxes(-1, -2)
        score_BNTL = score_BNTL + np.take_along_axis(p2c_BNRL, row, axis=-2)
    score_BNTL = score_BNTL * np.float32(scale)
    if may_see is not None:  # the lowest finite score: a token that may see nothing weighs all alike
        score_BNTL = np.where(may_see, score_BNTL, np.finfo(np.float32).min)
    return softmax(score_BNTL) @ v_BNLH
