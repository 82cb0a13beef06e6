"""3 × 3 convolution by minimal filtering: sixteen multiplications, instead of thirty-six, for four neighbouring outputs.

An image is cut into tiles of 4 × 4 pixels that overlap by two pixels; each tile gives 2 × 2 outputs. The method first forms sums
of a tile's pixels and sums of a kernel's weights, first along one side and then along the other. After that, the convolution is a
separate product at each of the sixteen places of a tile: sixteen matrix products over tiles and channels. This pays off with at
least :data:`CHANNELS` channels. :mod:`minicereb.calculus.winograd4` uses larger tiles and needs Numba.
:mod:`minicereb.calculus.convolution` computes the convolution directly, and chooses among the three methods.
"""

from __future__ import annotations

from minicereb.backend import Array, xp_of
from minicereb.parallel import blocks, run_lanes, scratch, sum_lanes

CHANNELS = 64  # input or output channels: with fewer, the sums cost more than they save
RESPONSES = 1 << 16  # tiles times channels in a block, at one place of all tiles: it fits the cache
PIXELS = ((0, 2), (1, 2), (2, 1), (1, 3))  # Bᵀ: each place is the difference of two pixels, except place 1, which is their sum


def applies(height: int, width: int, stride: int, padding: int, images: tuple[int, ...], outputs: int) -> bool:
    """Return whether this method applies and is faster: 3 × 3 kernels, stride and padding 1, even sides, and many channels.

    The first four arguments describe the kernel; `images` has the shape (batch, height, width, channels).
    """
    fits = (height, width, stride, padding) == (3, 3, 1, 1) and images[1] % 2 == images[2] % 2 == 0
    return fits and min(images[3], outputs) >= CHANNELS


def winograd(x: Array, weight: Array, bias: Array | None) -> Array:
    """Convolution by 3 × 3 kernels with stride 1 and padding 1, ``v = Aᵀ[(GθGᵀ) ⊙ (BᵀxB)]A + b`` ``[M-WINOGRAD]``.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels)
        Height and width are even.
    weight : array, shape (outputs, 3, 3, channels)
    bias : array, shape (outputs,), or None

    Returns
    -------
    array, shape (batch, height, width, outputs)

    References
    ----------
    Lavin and Gray (2016), Fast algorithms for convolutional neural networks, F(2 × 2, 3 × 3).
    """
    xp, (batch, height, width, channels), outputs = xp_of(x), x.shape, len(weight)
    kernels = _kernel_sums(weight).transpose(0, 1, 3, 2)
    v = xp.empty((batch, height, width, outputs), dtype=x.dtype)
    along = None if bias is None else xp.tile(bias, width // 2)  # tiled, because NumPy is slow at adding a short row many times

    def respond(part: slice) -> None:
        sums, tiles = _pixel_sums(x[part]), v[part].size // (4 * outputs)
        seen = scratch("seen", (4 * tiles, channels), x).reshape(4, tiles, channels)
        product = scratch("product", (4 * tiles, outputs), x).reshape(4, tiles, outputs)
        total = scratch("total", (8 * tiles, outputs), x).reshape(2, 4, tiles, outputs)
        for down in range(4):
            out = total[down] if down < 2 else product
            xp.matmul(_tiles(sums, down, seen), kernels[down], out=out)
            if down in (1, 2):
                total[0] += out
            if down > 1:
                total[1] -= out
        if along is not None:
            total[:, 1].reshape(2, -1, len(along))[...] += along  # this row belongs to both columns of a tile
        places = total.reshape(2, 4, -1, height // 2, width // 2, outputs)
        between = product[0].reshape(places.shape[2:])
        for row in range(2):
            first, second, third, last = places[row]
            xp.add(second, third, out=between)
            xp.add(between, first, out=v[part, row::2, ::2])
            xp.subtract(second, third, out=between)
            xp.subtract(between, last, out=v[part, row::2, 1::2])

    run_lanes(respond, _parts(x, outputs))
    return v


def winograd_weight_gradient(d_v: Array, x: Array) -> Array:
    """Weight gradient of :func:`winograd`, summed over the batch: ``Gᵀ[Σ (AδAᵀ) ⊙ (BᵀxB)]G`` ``[M-WINOGRAD-DW]``.

    Parameters
    ----------
    d_v : array, shape (batch, height, width, outputs)
    x : array, shape (batch, height, width, channels)
        Height and width are even.

    Returns
    -------
    array, shape (outputs, 3, 3, channels)
    """
    xp, channels, outputs = xp_of(x), x.shape[3], d_v.shape[3]

    def add(part: slice, total: Array, fresh: bool) -> None:
        d_kernels = total.reshape(4, 4, outputs, channels)
        share = scratch("share", (4 * outputs, channels), x).reshape(4, outputs, channels)
        sums, credit = _pixel_sums(x[part]), _credit_sums(d_v[part])
        seen = scratch("seen", (x[part].size // channels, channels), x).reshape(4, -1, channels)
        for down in range(4):
            xp.matmul(credit[down].transpose(0, 2, 1), _tiles(sums, down, seen), out=d_kernels[down] if fresh else share)
            if not fresh:
                d_kernels[down] += share

    total = sum_lanes(add, _parts(x, outputs), (16 * outputs, channels), x)
    return _kernel_sums_adjoint(total.reshape(4, 4, outputs, channels))


def _parts(x: Array, outputs: int) -> list[slice]:
    tiles = x.shape[1] * x.shape[2] // 4
    return list(blocks(len(x), RESPONSES // (tiles * max(x.shape[3], outputs))))


def _pixel_sums(x: Array) -> Array:
    """Return ``xB``, the sums across each tile: shape (4 places, batch, height + 2, width / 2 · channels).

    The even and the odd columns of the padded image are stored separately, so that neighbouring tiles are adjacent in memory.
    """
    batch, height, width, channels = x.shape
    tiles = width // 2
    apart = scratch("apart", (2 * batch * (height + 2), (tiles + 1) * channels), x)
    even, odd = apart.reshape(2, batch, height + 2, tiles + 1, channels)
    for columns in (even, odd):
        columns[:, 0] = 0
        columns[:, -1] = 0
    even[:, 1:-1, 0] = 0
    odd[:, 1:-1, -1] = 0
    even[:, 1:-1, 1:] = x[:, :, 1::2]
    odd[:, 1:-1, :-1] = x[:, :, ::2]
    rows, row = apart.reshape(2, batch, height + 2, -1), tiles * channels
    sums = scratch("sums", (4 * batch * (height + 2), row), x).reshape(4, batch, height + 2, row)
    pixels = [rows[column % 2, ..., column // 2 * channels :][..., :row] for column in range(4)]
    for place in range(4):
        _pixel_sum(place, pixels, sums[place])
    return sums


def _tiles(sums: Array, down: int, out: Array) -> Array:
    """Write ``BᵀxB`` to `out`, shape (4, tiles, channels), for one vertical place (`down`) and all four horizontal places."""
    height = sums.shape[2] - 2
    rows = [sums[:, :, row : row + height : 2] for row in range(4)]
    _pixel_sum(down, rows, out.reshape(rows[0].shape))
    return out


def _pixel_sum(place: int, pixels: list[Array], out: Array) -> None:
    """Apply ``Bᵀ`` along one side of a tile, for one of the four places."""
    one, other = PIXELS[place]
    (xp_of(out).add if place == 1 else xp_of(out).subtract)(pixels[one], pixels[other], out=out)


def _credit_sums(d_v: Array) -> Array:
    """Return ``AδAᵀ``, shape (4 places down, 4 across, tiles, outputs)."""
    xp, (batch, height, width, outputs) = xp_of(d_v), d_v.shape
    sums = scratch("credit", (4 * batch * height * width, outputs), d_v)
    sums = sums.reshape(4, 4, batch, height // 2, width // 2, outputs)
    for row in range(2):
        for column in range(2):
            sums[3 * row, 3 * column] = d_v[:, row::2, column::2]
    # A along one side: the credits of the first and the last output become the credits of four places.
    for side in (sums[0], sums[3], sums):
        xp.add(side[0], side[3], out=side[1])
        xp.subtract(side[0], side[3], out=side[2])
        xp.negative(side[3], out=side[3])
    return sums.reshape(4, 4, -1, outputs)


def _kernel_sums(weight: Array) -> Array:
    """Return ``GθGᵀ``, shape (4 places down, 4 across, outputs, channels)."""

    def sums(first: Array, second: Array, third: Array) -> tuple[Array, ...]:  # G along one side
        outer, inner = (first + third) / 2, second / 2
        return first, outer + inner, outer - inner, third

    kernels = xp_of(weight).empty((4, 4, len(weight), weight.shape[3]), dtype=weight.dtype)
    for down, row in enumerate(sums(*weight.transpose(1, 0, 2, 3))):
        for across, place in enumerate(sums(*row.transpose(1, 0, 2))):
            kernels[down, across] = place
    return kernels


def _kernel_sums_adjoint(d_kernels: Array) -> Array:
    """Return ``GᵀuG``, shape (outputs, 3, 3, channels)."""

    def back(first: Array, second: Array, third: Array, last: Array) -> tuple[Array, ...]:  # Gᵀ along one side
        outer, inner = (second + third) / 2, (second - third) / 2
        return first + outer, inner, outer + last

    _, _, outputs, channels = d_kernels.shape
    d_weight = xp_of(d_kernels).empty((outputs, 3, 3, channels), dtype=d_kernels.dtype)
    for down, row in enumerate(back(*d_kernels)):
        for across, place in enumerate(back(*row)):
            d_weight[:, down, across] = place
    return d_weight
