"""Small networks whose channels come in groups, sections and blocks, and small transformers."""

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    """Layers by keyword and a forward pass of (them, images); `head` makes 5 logits."""

    def __init__(self, function, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.function = function

    def forward(self, x):
        return self.head(self.function(self, x))


def conv(*args, **kwargs):
    return nn.Conv2d(*args, 3, padding=1, **kwargs)


def pooled(x):
    return x.mean((2, 3))


def grouped():
    return Net(
        lambda m, x: pooled(F.relu(m.norm(m.grouped(F.relu(m.stem(x)))))),
        stem=conv(3, 12),
        grouped=conv(12, 24, groups=4),
        norm=nn.BatchNorm2d(24),
        head=nn.Linear(24, 5),
    )


def multiplied():
    return Net(
        lambda m, x: pooled(F.relu(m.depthwise(m.stem(x)))),
        stem=conv(3, 4),
        depthwise=conv(4, 12, groups=4),
        head=nn.Linear(12, 5),
    )


def split_and_added():
    def forward(m, x):
        first, second, third = m.stem(x).relu().split(4, 1)
        second = second + F.relu(m.inner(first))
        return pooled(m.out(torch.cat([first, second, third], 1)))

    return Net(forward, stem=conv(3, 12), inner=conv(4, 4), out=conv(12, 6), head=nn.Linear(6, 5))


def shuffled():
    def forward(m, x):
        x = torch.cat([m.left(x), m.right(x)], 1)
        keep, change = _shuffle(x).chunk(2, 1)
        x = _shuffle(torch.cat([keep, m.norm(m.depthwise(m.inner(change)))], 1))
        return pooled(m.out(F.relu(x)))

    return Net(
        forward,
        left=conv(3, 8),
        right=conv(3, 8),
        inner=conv(8, 8),
        depthwise=conv(8, 8, groups=8),
        norm=nn.BatchNorm2d(8),
        out=conv(16, 6),
        head=nn.Linear(6, 5),
    )


def _shuffle(x):
    batch, channels, height, width = x.shape
    x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous()
    return x.view(batch, channels, height, width)


def group_normalised():
    return Net(
        lambda m, x: pooled(m.again(F.relu(m.norm(m.stem(x)))).relu()),
        stem=conv(3, 12),
        norm=nn.GroupNorm(4, 12),
        again=conv(12, 6),
        head=nn.Linear(6, 5),
    )


def upsampled():
    return Net(
        lambda m, x: pooled(F.interpolate(F.relu(m.up(m.stem(x))), scale_factor=2.0)),
        stem=conv(3, 6),
        up=nn.ConvTranspose2d(6, 8, 3, 2, 1, output_padding=1),
        head=nn.Linear(8, 5),
    )


def excited():
    def forward(m, x):
        x = m.stem(x)
        weights = m.up(F.relu(m.down(x.mean((2, 3))))).sigmoid().view(x.shape[0], -1, 1, 1)
        return pooled(x * weights.expand_as(x))

    return Net(
        forward, stem=conv(3, 8), down=nn.Linear(8, 4), up=nn.Linear(4, 8), head=nn.Linear(8, 5)
    )


def scaled_last():
    def forward(m, x):
        x = m.stem(x)
        y = m.narrow(F.gelu(m.wide(m.depthwise(x).permute(0, 2, 3, 1))))
        return pooled(x + (y * m.gamma).permute(0, 3, 1, 2))

    net = Net(
        forward,
        stem=conv(3, 6),
        depthwise=conv(6, 6, groups=6),
        wide=nn.Linear(6, 24),
        narrow=nn.Linear(24, 6),
        head=nn.Linear(6, 5),
    )
    net.gamma = nn.Parameter(torch.linspace(0.5, 1.5, 6))
    return net


class Standardised(nn.Conv2d):
    """As in NF-Nets: filters of mean 0 and variance 1, times a gain."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, 3, padding=1)
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, outputs).view(-1, 1, 1, 1))
        self.scale = 1.7 * self.weight[0].numel() ** -0.5

    def forward(self, x):
        scale = (self.gain * self.scale).view(-1)
        rows = self.weight.reshape(1, self.out_channels, -1)
        rows = F.batch_norm(rows, None, None, scale, training=True, momentum=0.0, eps=1e-6)
        return F.conv2d(x, rows.reshape_as(self.weight), self.bias, 1, 1)


def standardised():
    return Net(
        lambda m, x: pooled(m.second(F.relu(m.first(x)))),
        first=Standardised(3, 6),
        second=Standardised(6, 8),
        head=nn.Linear(8, 5),
    )


def selected():
    """Selective kernels: two branches, weighed by a softmax over them."""

    def forward(m, x):
        branches = torch.stack([m.left(x), m.right(x)], 1)
        weights = m.choose(branches.sum(1).mean((2, 3), keepdim=True))
        weights = weights.view(x.shape[0], 2, 6, 1, 1).softmax(1)
        return pooled((branches * weights).sum(1))

    return Net(forward, left=conv(3, 6), right=conv(3, 6), choose=conv(6, 12), head=nn.Linear(6, 5))


def attended():
    """A filter that slides over the channels, and a mean over them."""

    def forward(m, x):
        x = m.stem(x).relu()
        y = m.slide(x.mean((2, 3)).view(x.shape[0], 1, -1)).sigmoid()
        x = x * y.view(x.shape[0], -1, 1, 1)
        return pooled(x / (1 + x.mean(1, keepdim=True)))

    return Net(forward, stem=conv(3, 8), slide=nn.Conv1d(1, 1, 3, padding=1), head=nn.Linear(8, 5))


# name -> network, widths that it is given, and how its groups are (width, step)
NETWORKS = {
    "grouped": (grouped, {"stem": 6}, {"stem": (12, 3)}),
    "depthwise with a multiplier": (multiplied, {"stem": 3}, {"stem": (4, 1)}),
    "split and added": (split_and_added, {"stem": 6, "out": 4}, {"stem": (12, 3), "out": (6, 1)}),
    "shuffled": (shuffled, {"left": 4, "out": 3}, {"left": (8, 1), "out": (6, 1)}),
    "groups normalised": (group_normalised, {"stem": 6}, {"stem": (12, 3), "again": (6, 1)}),
    "upsampled": (upsampled, {"stem": 4, "up": 5}, {"stem": (6, 1), "up": (8, 1)}),
    "excited": (excited, {"stem": 5, "down": 2}, {"stem": (8, 1), "down": (4, 1)}),
    "standardised": (standardised, {"second": 5}, {"first": (6, 1), "second": (8, 1)}),
    "selected": (selected, {"left": 4}, {"left": (6, 1)}),
    "attended": (attended, {"stem": 8}, {"stem": (8, 1)}),
    "scaled last": (scaled_last, {"stem": 4, "wide": 9}, {"stem": (6, 1), "wide": (24, 1)}),
}


class Block(nn.Module):
    """Attention of two heads and an MLP, both behind a norm and beside a shortcut."""

    def __init__(self, width):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Vit(nn.Module):
    """Patches of 4x4, a class token, an embedding of positions, two blocks."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 5, 8))
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class Windows(nn.Module):
    """Swin's windows: cut, attended to, put together again, merged four to one."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 2, 2)
        self.norm = nn.LayerNorm(6)
        self.qkv = nn.Linear(6, 18)
        self.project = nn.Linear(6, 6)
        self.merge = nn.Linear(24, 10, bias=False)
        self.head = nn.Linear(10, 5)

    def forward(self, x):
        x = self.patches(x).permute(0, 2, 3, 1)
        y = torch.roll(self.norm(x), (-1, -1), (1, 2))
        y = y.view(-1, 2, 2, 2, 2, 6).transpose(2, 3).reshape(-1, 4, 6)
        q, k, v = self.qkv(y).view(-1, 4, 3, 2, 3).permute(2, 0, 3, 1, 4)
        mask = x.new_zeros(4, 4)
        mask[:2, 2:] = -1.0
        y = (torch.softmax(q @ k.transpose(-2, -1) + mask, -1) @ v).transpose(1, 2)
        y = self.project(y.reshape(-1, 4, 6)).view(-1, 2, 2, 2, 2, 6)
        x = x + torch.roll(y.transpose(2, 3).reshape(-1, 4, 4, 6), (1, 1), (1, 2))
        corners = [x[:, i::2, j::2] for j in range(2) for i in range(2)]
        return self.head(self.merge(torch.cat(corners, -1)).mean((1, 2)))
