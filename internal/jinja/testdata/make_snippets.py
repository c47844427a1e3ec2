#!/usr/bin/env python3
"""Writes snippets.jsonl: what Python's Jinja2 answers to small templates.

    python make_snippets.py --out snippets.jsonl [--seed N] [--random N]

Needs jinja2 3.1.6 and transformers. Environments: default (Environment()),
strict (StrictUndefined, keep_trailing_newline, as lm-evaluation-harness),
chainable, debug, chat (transformers' own). Development only.
"""
import argparse, json, random, re

import jinja2
from transformers.utils.chat_template_utils import _compile_jinja_template

VARS = {
    "n": 7, "neg": -3, "f": 2.5, "big": 123456789012345678901234567890, "s": "Hello, World", "e": "", "u": "Grüße, ǅ ﬁ straße İ 日本",
    "ws": " \t a  b\n c \n", "t": True, "none": None, "l": [3, 1, 2], "words": ["pear", "Apple", "fig", "apple"], "d": {"b": 1, "a": [1, {"x": None}], "items": "shadow"},
    "users": [{"name": "ann", "age": 31, "on": True, "tags": ["x", "y"]}, {"name": "Bob", "age": 25, "on": False, "tags": []}, {"name": "cid", "age": 31, "on": True}],
    "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}], "html": "<a href=\"x\">T & 'q'</a>  <!-- c --> &amp; z", "lines": "one\ntwo\n\nthree",
    "long": "The quick brown fox jumps over the lazy dog and runs away from-the well-known wolf.", "pairs": [["a", 1], ["b", 2]],
}

EXPR = """
1 + 2 * 3 - 4
7 // 2 ~ -7 // 2 ~ 7 % 3 ~ -7 % 3 ~ 7 % -3
7 / 2
6 / 3
2 ** 10
2 ** -1
-2 ** 2
2 ** 3 ** 2
2 ** 100
big * big + 1
big // 7
big % 1000
-big
big / 3
1 / 0
1 // 0
1 % 0
1.0 / 0
1.0 // 0
1.0 % 0
7.5 // 2
-7.5 // 2
7.5 % -2
1e3
1e16
1.5e-7
1_000_000
0x1F
0b101
0o17
1e400
-1e400
0.1 + 0.2
1.0
100000000000000000.0
3 | abs
-3 | abs
-2.5 | abs
'a' ~ 1 ~ none ~ true ~ 1.0
'a' + 'b'
'a' + 1
1 + 'a'
[1] + [2]
[1] + (2,)
(1,) + (2, 3)
'ab' * 3
3 * 'ab'
[1, 2] * 2
'a' * 1.5
none + 1
not true
not none
true and 0
0 or 'x'
'' or none
1 < 2 < 3
1 < 2 > 3
3 > 2 == true
1 == 1.0
'1' == 1
true == 1
[1, 2] == [1, 2]
(1, 2) == [1, 2]
{'a': 1} == {'a': 1.0}
[1, 2] < [1, 3]
'a' < 'b'
'a' < 1
none < 1
1 in [1, 2]
'b' in 'abc'
1 in 'abc'
'a' in d
'a' not in d
not 'a' in d
1 in 5
x in [1]
1 if true
1 if false
1 if false else 2
(1 if false) is defined
1 if false else 2 if false else 3
(1, 2)
(1,)
()
[]
{}
[1, 'a', 2.0, none, true, [1, 'b"\\'']]
{'a': 1, 'b': [1, 2], 3: none}
{'a': 1}.a
{'a': 1}['a']
{'a': 1}.b
[1, 2][0]
[1, 2][-1]
[1, 2][5]
[1, 2].5
[1, 2].foo
'abc'[1]
'abc'[9]
s[1:4]
s[::-1]
s[-3:]
s[:-3]
s[10:2:-2]
u[2:5]
l[1:]
l[::-1]
l[::0]
l[:100]
l[-100:2]
(1,2,3)[1:]
d['a'][1].x
d.a[0]
d.items
d['items']
d.keys()
d.values()
d.items()
d.get('zz')
d.get('zz', 5)
d.get('b', 5)
d.keys() | list
s.upper()
s.lower()
s.title()
s.swapcase()
s.capitalize()
u.upper()
u.lower()
u.title()
u.capitalize()
u.swapcase()
u | upper
u | lower
u | title
u | capitalize
u | length
"it's a dog's-life (and mine) {x}" | title
"it's a dog's-life".title()
'x'.center(10) ~ '|'
'xy'.center(7, '*')
'xyz'.center(8, '*')
'xyz' | center(8) ~ '|'
'abc'.ljust(6, '.') ~ 'abc'.rjust(6, '.')
'42'.zfill(5) ~ '-42'.zfill(5) ~ '+4'.zfill(1)
ws.strip()
ws.lstrip()
ws.rstrip()
ws | trim
'xxhixx'.strip('x')
'xyhiyx' | trim('xy')
ws.split()
ws.split(' ')
ws.split(none, 1)
ws.rsplit(none, 1)
'a,b,,c'.split(',')
'a,b,,c'.split(',', 1)
'a,b,,c'.rsplit(',', 1)
'a,b,c'.split(',', maxsplit=1)
'a,b'.split('')
''.split()
''.split(',')
lines.splitlines()
lines.splitlines(true)
'a\\r\\nb\\rc'.splitlines(true)
s.startswith('He')
s.startswith(('x', 'He'))
s.startswith('lo', 3)
s.endswith('ld')
s.endswith(1)
s.find('o')
s.find('o', 5)
s.rfind('o')
s.find('zz')
s.index('zz')
s.count('l')
'aaaa'.count('aa')
s.replace('l', 'L')
s.replace('l', 'L', 1)
'abc'.replace('', '-')
s | replace('l', 'L', 2)
'-'.join(['a', 'b'])
'-'.join([1, 2])
'-'.join('abc')
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'abc'.partition('z')
'abc'.removeprefix('a') ~ 'abc'.removesuffix('c')
'a\\tb'.expandtabs(4)
'12'.isdigit() ~ 'a1'.isalnum() ~ 'ab'.isalpha() ~ ' '.isspace() ~ ''.isspace() ~ 'Ab Cd'.istitle() ~ 'AB1'.isupper() ~ 'ab'.islower()
'x'.isidentifier() ~ '1x'.isidentifier() ~ 'é'.isascii() ~ 'a'.isprintable() ~ '²'.isdigit() ~ '½'.isnumeric() ~ '٣'.isdecimal()
s.nosuch
s.nosuch()
none.foo
none['foo']
none[0]
none()
5()
'a'()
n.foo
n.bit_length()
f.is_integer()
l.index(1)
l.index(9)
l.count(1)
(1, 2, 1).count(1)
x
x.y
x.y.z
x['y']
x[0]
x()
x + 1
1 + x
x ~ 'a'
'a' + x
x == 1
x == y
x != y
x < 1
1 < x
-x
not x
x and 1
x or 1
x | default('D')
x.y | default('D')
'' | default('D')
'' | default('D', true)
none | default('D')
d.zz | default('D')
d.zz.y | default('D')
x | length
x | list
x | join(',')
x | upper
x | int
x | first
x | string
x | trim
x is defined
x is undefined
x is none
x is string
x is iterable
x is sequence
x is mapping
x is number
d.zz is defined
d.b is defined
x[0:1]
[x]
{'a': x}
x in x
l | first
l | last
[] | first
[] | last
l | sort
l | sort(true)
l | sort(reverse=true)
words | sort
words | sort(case_sensitive=true)
words | sort(true, true)
[1, 'a'] | sort
[none, 1] | sort
users | sort(attribute='age') | map(attribute='name') | list
users | sort(attribute='age,name') | map(attribute='name') | join(',')
users | map(attribute='name') | map('upper') | join(' ')
users | map(attribute='tags.0') | list
users | map(attribute='tags.0', default='none') | list
users | map(attribute='zip', default=0) | sum
users | map('nosuch') | list
users | map | list
users | map(x) | list
users | selectattr('on') | map(attribute='name') | list
users | rejectattr('on') | map(attribute='name') | list
users | selectattr('age', 'gt', 30) | map(attribute='name') | list
users | selectattr('age', '>', 30) | list | length
users | selectattr('tags', 'defined') | list | length
users | selectattr('age', 'nosuch', 30) | list
users | selectattr('name', 'in', ['ann', 'cid']) | map(attribute='name') | list
users | groupby('age')
users | groupby('age') | map(attribute='grouper') | list
users | groupby('age') | map('first') | list
users | groupby('nothing', default='-') | map('first') | list
l | select('odd') | list
l | reject('odd') | list
[0, 1, '', 'a', none] | select | list
[0, 1, '', 'a', none] | reject | list
l | select('divisibleby', 3) | list
l | map('string') | list
l | map('pow') | list
l | sum
[1.5, 2] | sum
users | sum(attribute='age')
l | sum(start=10)
words | sum
l | min
l | max
words | min
words | max(case_sensitive=true)
users | max(attribute='age')
[] | min
l | join
l | join(', ')
users | join(', ', attribute='name')
l | reverse | list
s | reverse
d | dictsort
d | dictsort(by='value')
{'b': 1, 'A': 2} | dictsort
{'b': 1, 'A': 2} | dictsort(true)
{'b': 2, 'A': 1} | dictsort(by='value', reverse=true)
d | items | list
d | list
5 | items | list
words | unique | list
words | unique(true) | list
l | batch(2) | list
l | batch(2, 'x') | list
l | slice(2) | list
[1,2,3,4,5] | slice(3) | list
[1,2,3,4,5] | slice(3, 'x') | list
l | tojson
d | tojson
{'z': 1, 'a': [1.0, none, true, 'é<&>\\'"']} | tojson
{'z': 1, 'a': [1.0, {}, []]} | tojson(2)
{1: 2, none: 3, true: 4, 2.5: 1} | tojson
x | tojson
(1, 2) | tojson
1e400 | tojson
{(1,2): 3} | tojson
s | truncate(5)
s | truncate(5, true)
long | truncate(30)
long | truncate(30, true, '…')
long | truncate(30, leeway=0)
long | truncate(30, false, '---', 3)
long | truncate(2)
long | wordwrap(20)
long | wordwrap(10)
long | wordwrap(5)
long | wordwrap(5, false)
long | wordwrap(12, wrapstring='|')
long | wordcount
u | wordcount
lines | indent
lines | indent(2)
lines | indent(2, true)
lines | indent(2, false, true)
lines | indent('> ', true, true)
'' | indent(2, true)
3.14159 | round(2)
2.5 | round
3.5 | round
-2.5 | round
2.675 | round(2)
1234.5 | round(-2)
7 | round
1250 | round(-2)
1350 | round(-2)
2.1 | round(0, 'ceil')
2.19 | round(1, 'floor')
2.1 | round(0, 'up')
'a' | round
'42' | int
'42.9' | int
'x' | int
'x' | int(default=-1)
'0x1f' | int(base=16)
'0x1f' | int(0, 16)
'101' | int(base=2)
none | int
2.9 | int
-2.9 | int
true | int
' 12 ' | int
'1_0' | int
'1.5' | float
'x' | float
'x' | float(3)
'nan' | float
none | float
[] | float
'inf' | float
1 | float
1000 | filesizeformat
1 | filesizeformat
0 | filesizeformat
123456789 | filesizeformat
123456789 | filesizeformat(true)
html | escape
html | e
html | striptags
html | forceescape
html | safe
('<a>' | safe) + '<b>'
'<a>' | safe ~ '<b>'
'a b/c?d=é&f~' | urlencode
{'a b': 1, 'c': 'd/e'} | urlencode
{'id': 'a', 'x': none, 'y': 'q"'} | xmlattr
'%s-%d' | format('a', 3)
'%s-%d' % ('a', 3)
'%s' % 'a'
'%d' % 3.7
'%5.2f|%-5s|%05d|%+d|%x|%X|%o|%e|%g|%%' % (3.14159, 'ab', 42, 7, 255, 255, 8, 12345.678, 0.0001)
'%(a)s %(b)05.1f' % {'a': 1, 'b': 2}
'%s %s' % ('a',)
'%s' % ('a', 'b')
'%d' % 'a'
'%r' % 'a'
'%c%c' % (65, 'b')
'%z' % 1
'%' % 1
'%*d' % (5, 3)
'%.3s|' % 'abcdef'
'%s' % [1, 2]
'%s' % none
'abc' % []
'abc' % 1
'%i' % true
'{} {}'.format(1, 'a')
'{1} {0}'.format(1, 'a')
'{a} {b[0]} {c.x}'.format(a=1, b=[2], c={'x': 3})
'{:>5}|{:<5}|{:^5}|{:*^7}'.format(1, 2, 3, 'ab')
'{:05d} {:+} {:,} {:_} {:x} {:#x} {:b} {:o} {:c}'.format(42, 7, 1234567, 1234567, 255, 255, 5, 8, 65)
'{:.2f} {:e} {:g} {:%} {:.1%} {:10.3f}|'.format(3.14159, 12345.678, 0.00001, 0.5, 0.123, 2.0)
'{:.3} {:.3} {:.1} {:.10}'.format(3.14159, 1234.5, 0.05, 1.0)
'{:g} {:g} {:g}'.format(100000, 1000000, 1e-5)
'{:.3s}|{:5s}|{:>5s}|'.format('abcdef', 'a', 'b')
'{!r} {!s} {!a}'.format('é', 'é', 'é')
'{{}} {}'.format(1)
'{} {0}'.format(1)
'{'.format(1)
'}'.format(1)
'{0.x}'.format({'x': 1})
'{a}'.format(b=1)
'{}'.format()
'{:d}'.format('a')
'{:.2f}'.format('a')
'{:z}'.format(1)
'{:+z.1f}'.format(-0.01)
'%.5d|%8.3d|%-8d|%+.3d|% d' % (42, 7, 7, 5, 3)
'%#x %#o %-6.2f| %06.1f' % (255, 8, 1.5, -2.5)
'%+s|%05s' % ('a', 'b')
'{:{w}}|'.format(5, w=8)
'{:{}}|'.format(5, 8)
'{:>{w}.{p}f}'.format(3.14159, w=10, p=2)
'{:015,}'.format(1234567)
'{:,}'.format(1234567.891)
'{: }'.format(5)
'{:<10}|'.format(none)
'{}'.format(none)
'{a}'.format_map({'a': 1})
1 is odd
2 is even
3 is divisibleby 3
3 is divisibleby(2)
n is number
f is float
n is integer
true is integer
true is boolean
true is true
1 is true
'a' is string
'A' is upper
'a' is lower
d is mapping
l is sequence
l is iterable
5 is iterable
s is sequence
range is callable
s is callable
none is none
n is sameas 7
n is eq 7
n is ne 7
n is gt 5
n is lt 5
n is ge 7
n is le 7
n is equalto 7
n is not eq 7
n is in [7]
n is not in [7]
'upper' is filter
'nope' is filter
'odd' is test
n is defined and n is odd
n is odd or false
(n) is odd
-1 is odd
n is nosuch
n | nosuch
n | upper
none | upper
[1] | upper
none | length
5 | length
5 | list
5 | join
5 | first
5 | sort
range(5) | list
range(2, 10, 3) | list
range(5, 0, -2) | list
range(5)
range(0, 5, 2)
range(3)[1]
range(3)[1:]
range(3) | length
range()
range(1, 2, 0)
range('a')
dict(a=1, b=2)
dict({'a': 1}, b=2)
dict([('a', 1)])
dict(pairs)
dict(5)
namespace(a=1).a
namespace(a=1).b
namespace(a=1)
cycler
cycler('a', 'b').next()
joiner()
(joiner('|'))()
'a' 'b' "c"
'\\n\\t\\\\\\'\\x41\\u00e9\\101\\q'
"\\U0001F600"
'é' | length
'😀'[0]
{'a': {'b': [1, 2, {'c': 'deep'}]}}.a.b[2].c
d['b'] + d.b
[1, [2, [3]]][1][1][0]
l.append(4)
l.pop()
d.update({'q': 1})
d.pop('b')
l.sort()
words.reverse()
d.setdefault('k', 1)
d.clear()
s.__class__
s.__class__.__mro__
d.__init__
l.__len__
''.__class__
[1,2] | map('abs') | list
[-1] | map('abs') | first
['a', 1] | map('upper') | list
[[1, 2], [3]] | map('first') | list
[[1, 2], [3]] | map('join', '-') | list
['1', '2'] | map('int') | sum
users[0].name[0] | upper
users | length > 2
users | map(attribute='age') | unique | list
users | map(attribute='name') | sort | join
(users | first).name
users | last | attr('name')
s | attr('upper')
loop
varargs
caller
kwargs
1.5.real
10 | string | length
'a,b' | string
[1, 2, 3] | string
true | string
1 ~ 2
'x' ~ x ~ 'y'
{'a': 1, 'a': 2}
{1: 'a', 1.0: 'b', true: 'c'}
{[1]: 2}
{'a': 1}[[1]]
{'x': 1}.x is defined
[1, 2, 3][1:][0]
(1, 2, 3) | list
(1, 'a', 2.0)
((1, 2), 3)
[(1,), ()]
'a' if x is defined else 'b'
'a' if x else 'b'
s | length if s else 0
n if n > 5 and n < 10 else 'no'
'abc' | list
'abc' | batch(2) | map('join') | list
'%s' | format(x)
[3, 1] | sort | first
1 if n is odd else 2
not n is odd
n is not odd
2 + 3 | string
(2 + 3) | string
-1 | abs
- 1 | abs
'%02d:%02d' | format(3, 7)
users[0]['name'] ~ users[1].age
users | selectattr('name', 'equalto', 'ann') | first
users | selectattr('nope') | list
users | map(attribute='nope') | list
users | sum(attribute='nope')
[none] | map('upper') | list
[1,2,3] | sum / 2
none | string
1 == 1 and 2 == 2 and 'x'
[] == ()
'' == none
0 == false
'a' * 0
'abc'[-1:] + 'abc'[:1]
"a\tb" | tojson
'a\\u2028b' | tojson
'\\x7f' | tojson
2.50 | tojson
1e100 | tojson
1e16 ~ ' ' ~ 123456789.123456789
0.1
1/3
1e-4 ~ ' ' ~ 1e-5
5 // 0.3
7 % 0.1
-0.0
2 ** 0.5
4 ** 0.5
(-8) ** 0.5
0 ** 0
0 ** -1
10 ** 20
(10 ** 20) is integer
10 ** 400 / 10 ** 399
10 ** 400 * 1.0
True and False
None
nOne
""".strip("\n").split("\n")

TEMPLATES = [
    "a\n", "a\n\n", "\n", "", "a\r\nb\r\n", "{{ 1 }}\n", "{% if true %}\nx\n{% endif %}\ny\n", "  {% if true %}\n  x\n  {% endif %}\n  y", "a {%- if true %} b {%- endif %} c", "a {% if true -%} b {% endif -%} c",
    "a\n  {%- if true -%}\n  b\n  {%- endif -%}\n c", "{# c #}\nx", "  {# c #}\nx", "a {#- c -#} b", "{% raw %}{{ x }}{% endraw %}", "{% raw -%}  {{ x }} {%- endraw %} y", "x\n  {% raw %}\n {{ x }}\n{% endraw %}\ny", "{%- raw %} {% if %} {%- endraw -%} \n z",
    "{%+ if true %}\n x{%+ endif %}\n", "  {%+ if true +%}\n x\n  {%- endif +%}\n", "{{- 1 -}} \n 2", "{{+ 1 }}", "{{-1}}", " {{- '  x  ' -}} ", "{% set x = 1 %}\n{{ x }}\n{% set y = 2 -%}\n{{ y }}", "{{ '{{' }} {{ '}}' }} {{ '%}' }}", "{{ {'a': {'b': 1}} }}", "{{ {'a': 1}}}", "{#}", "{# unfinished", "{{ unfinished", "{% if x", "{% raw %} unfinished", "{ { } } % }", "{", "{ {{ 1 }} }", "{{{'a':1}['a']}}",
    "{% for i in l %}{{ i }},{% endfor %}", "{% for i in l %}{{ loop.index }}/{{ loop.length }}{{ ' first' if loop.first }}{{ ' last' if loop.last }};{% endfor %}", "{% for i in [] %}x{% else %}empty{% endfor %}", "{% for i in x %}x{% else %}empty{% endfor %}", "{% for i in none %}x{% endfor %}", "{% for i in 5 %}x{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for a, b in pairs %}{{ a }}{{ b }}{% endfor %}", "{% for a, b in l %}{% endfor %}", "{% for a, b in [[1]] %}{% endfor %}", "{% for a, b in [[1,2,3]] %}{% endfor %}", "{% for (a, b), c in [[[1,2],3]] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for c in 'aé😀' %}{{ c }}.{% endfor %}",
    "{% for i in l if i > 1 %}{{ i }}:{{ loop.index }}:{{ loop.length }};{% endfor %}", "{% for i in l if i > 10 %}x{% else %}none{% endfor %}", "{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}", "{% for i in l %}{{ loop.previtem.x }}{% endfor %}", "{% for i in l %}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.index0 }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}", "{% for i in [1,1,2] %}{{ loop.changed(i) }} {% endfor %}", "{% for i in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for i in l %}{{ loop.cycle() }}{% endfor %}", "{% for i in l %}{{ loop }}{% endfor %}", "{% for i in l %}{{ loop.nope }}|{% endfor %}", "{% for i in l %}{{ loop.nope.x }}|{% endfor %}", "{% for i in l|map('string') %}{{ i }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for n in tree recursive %}{{ n.v }}({{ loop(n.c) }}){{ loop.depth }}{% endfor %}", "{% for i in l %}{{ loop(l) }}{% endfor %}", "{% for i in l %}{% for j in l %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}", "{% for i in l %}{% set q = i %}{% endfor %}{{ q }}", "{% set q = 0 %}{% for i in l %}{% set q = q + i %}{{ q }}{% endfor %}{{ q }}", "{% set ns = namespace(q=0) %}{% for i in l %}{% set ns.q = ns.q + i %}{% endfor %}{{ ns.q }}", "{% set d.x = 1 %}", "{% set zz.x = 1 %}", "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}", "{% set ns = namespace() %}{% set ns._a = 1 %}{{ ns._a }}", "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a + ns.b }}{{ ns['a'] }}", "{% set ns = namespace() %}{% set ns, ns.a = 1, 2 %}", "{% set ns = namespace() %}{% set ns, ns.a = {}, 2 %}{{ ns }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = 1 %}", "{% set (a, b), c = (1, 2), 3 %}{{ a }}{{ b }}{{ c }}", "{% set a = 1, %}{{ a }}", "{% set a %}x{{ 1 }}y{% endset %}[{{ a }}]", "{% set a | upper %}x{{ 1 }}y{% endset %}[{{ a }}]", "{% set a | replace('x', 'z') | upper %}x{% endset %}{{ a }}", "{% set a = l %}{{ a }}", "{% set s = s ~ '!' %}{{ s }}", "{% if true %}{% set q = 1 %}{% endif %}{{ q }}", "{% if false %}{% set q = 1 %}{% endif %}{{ q }}", "{% if false %}{% set s = 1 %}{% endif %}{{ s }}",
    "{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c=3) }} {{ m(b=1, a=2) }} {{ m() }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}", "{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, a=3) }}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m(a) -%}\n  {{ a }}\n{%- endmacro %}[{{ m('x') }}]", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m() %}{{ n }}{{ q }}{% endmacro %}{% set q = 5 %}{{ m() }}", "{% set q = 1 %}{% macro m() %}{{ q }}{% endmacro %}{% set q = 2 %}{{ m() }}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}body{% endcall %}", "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}+{{ b }}{% endcall %}", "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro m() %}x{% endmacro %}{% call m() %}body{% endcall %}", "{% macro m() %}{{ 'c' if caller else 'n' }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}", "{% macro m(x) %}{{ x }}{% endmacro %}{{ m }} {{ m.name }} {{ m.arguments }} {{ m.catch_kwargs }} {{ m.catch_varargs }} {{ m.caller }}", "{% macro m() %}[{{ loop }}]{% endmacro %}{% for i in [1] %}{{ m() }}{% endfor %}", "{% for i in [1,2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}{{ m }}", "{% macro m() %}a{% endmacro %}{{ m() | upper }}{{ m() ~ 'x' }}{{ m() + 'y' }}", "{% macro m(x) %}{% set x = x + 1 %}{{ x }}{% endmacro %}{{ m(1) }}{{ x }}", "{% macro m() %}{% set inner = 1 %}{% endmacro %}{{ m() }}{{ inner }}", "{% call 5 %}{% endcall %}", "{% macro m(a) %}{{ a }}{{ caller() }}{% endmacro %}{% for i in l %}{% call m(i) %}<{{ i }}>{% endcall %}{% endfor %}",
    "{% filter upper %}abc{{ 'd' }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}abc{% endfilter %}", "{% filter indent(2) %}a\nb{% endfilter %}", "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z }}", "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% block x %}in{{ n }}{% endblock %} {{ self.x() }}", "{% set q = 1 %}{% block x %}{{ q }}{% endblock %}", "{% for i in l %}{% block x scoped %}{{ i }}{% endblock %}{% endfor %}", "{% for i in l %}{% block x %}[{{ i }}]{% endblock %}{% endfor %}", "{% print 1, 2 %}", "{% autoescape false %}{{ html }}{% endautoescape %}",
    "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "{% for i in range(3) %}{{ loop.index }}{% if loop.index == 2 %}{% break %}{% endif %}{% else %}no{% endfor %}", "{% generation %}x{% endgeneration %}", "{% for i in l %}{% set z %}{% break %}{% endset %}{% endfor %}", "{% do l.append(1) %}", "{{ raise_exception('no') }}", "{{ raise_exception('a ' ~ n) }}", "{{ strftime_now('%%x') }}", "{{ strftime_now(1) }}",
    "{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}", "{% if n < 5 %}a{% elif n == 7 %}b{% else %}c{% endif %}", "{% if n < 5 %}a{% elif n < 7 %}b{% else %}c{% endif %}", "{% if x %}a{% else %}b{% endif %}", "{% if x.y %}a{% endif %}", "{% if not x is defined %}a{% endif %}", "{% if false %}{{ 1 | nosuch }}{% endif %}ok", "{% if true %}{{ 1 | nosuch }}{% endif %}ok", "{{ 1 | nosuch if false else 2 }}", "{% if false %}{% for i in l %}{{ 1 | nosuch }}{% endfor %}{% endif %}", "{% if x is nosuch %}{% endif %}",
    "{% include 'a' %}", "{% if false %}{% include 'a' %}{% endif %}ok", "{% import 'a' as b %}", "{% from 'a' import b %}", "{% extends 'a' %}x",
    "{% endif %}", "{% if true %}", "{% for %}", "{% for i in %}{% endfor %}", "{% for i l %}{% endfor %}", "{% if true %}{% endfor %}", "{% for i in l %}{% endif %}", "{% nosuch %}", "{% if %}{% endif %}", "{{ }}", "{{ 1 + }}", "{{ (1 }}", "{{ 1) }}", "{{ [1, }}", "{{ [1,] }}", "{{ {'a': 1,} }}", "{{ {'a'} }}", "{{ 'abc }}", "{{ a b }}", "{{ 1 2 }}", "{{ a. }}", "{{ a.'b' }}", "{{ a | }}", "{{ a is }}", "{{ a is b is c }}", "{{ f(a, b=1, 2) }}", "{{ f(**d, a=1) }}", "{{ f(*l, 1) }}", "{{ $ }}", "{{ a ? b }}", "{{ a ! b }}", "{{ 'a' 'b' 1 }}", "{% set 1 = 2 %}", "{% set none = 2 %}", "{% set 'a' = 2 %}", "{% set a.b.c = 1 %}", "{% set a[0] = 1 %}", "{% set %}", "{% set a %}", "{% macro %}{% endmacro %}", "{% macro m %}{% endmacro %}", "{% macro m() %}", "{% for loop in l %}{% endfor %}", "{% block a %}{% endblock %}{% block a %}{% endblock %}", "{% block a-b %}{% endblock %}", "{% if a = 1 %}{% endif %}", "{{ a = 1 }}", "{{ 1 if }}", "{{ not }}", "{{ -'a' }}", "{{ '\\x4' }}", "{{ '\\u12' }}", "{{ a..b }}", "{{ a.1.2 }}", "{{ 1.e }}", "{{ 5.foo }}", "{{ [1,2].0 }}", "{{ 1.5.5 }}", "{{ a b=1 }}", "{% raw %}{% endraw", "{%", "{{", "{% if true %}a{% else %}b{% else %}c{% endif %}", "{% endraw %}", "{{ a[1:2, 3] }}", "{{ a[] }}", "{{ a[:] }}", "{{ }} {{ 1 }}", "{{ {1:2}[1] }}", "{{ [1 2] }}", "{{ '}}' }}", "{{ \"{%\" }}", "{{ 1 }}}", "{{ 1 }} }}",
    "{% for i in l %}{{ n }}{% endfor %}{% set n = 5 %}", "{% for i in l %}{% for j in l %}{{ n }}{% endfor %}{% set n = 5 %}{{ n }}{% endfor %}", "{% macro m() %}{{ n }}{% endmacro %}{{ m() }}{% set n = 5 %}{{ m() }}", "{% if true %}{% set n = 5 %}{% endif %}{% for i in l %}{{ n }}{% endfor %}", "{% for i in l %}{{ n }}{% endfor %}{% if true %}{% set n = 5 %}{% endif %}{{ n }}", "{% for i in l %}{% if i == 1 %}{% set n = i %}{% elif i == 2 %}{% set s = i %}{% endif %}{{ n }}{{ s }}{% endfor %}", "{% set a %}{{ n }}{% endset %}{% set n = 3 %}{{ a }}", "{% macro m(a=n) %}{% set n = 2 %}{{ a }}{{ n }}{% endmacro %}{{ m() }}", "{% with %}{{ n }}{% set n = 2 %}{{ n }}{% endwith %}{{ n }}", "{% filter upper %}{% for i in [1] %}{{ s }}{% endfor %}{% set s = 'q' %}{{ s }}{% endfilter %}", "{% block b %}{{ n }}{% set n = 1 %}{% endblock %}{% set n = 2 %}", "{% for n in l %}{{ n }}{% else %}{{ n }}{% endfor %}{{ n }}",
    "{{ loop.index }}", "{{ range(3)|list }}{{ range }}", "{% set range = 5 %}{{ range }}", "{{ 'a'|upper|lower|title }}", "{{ dict(a=1).a }}", "{{ users[0].tags[5] }}", "{{ users[5].name }}", "{{ users[0].nope.x }}", "{{ (users|first).zip.code }}", "{{ d['a']['b'] }}", "{{ s.x.y }}", "{{ n.x.y }}", "{{ l.x.y }}", "{{ none.x.y }}", "{{ t.x.y }}", "{{ f.x.y }}", "{{ d.x.y }}", "{{ (1,2).x.y }}", "{{ range(3).x.y }}", "{{ namespace().x.y }}", "{{ d.keys().x.y }}", "{{ l[9].y }}", "{{ l['a'].y }}", "{{ s[99].y }}", "{{ d[1].y }}", "{{ d[none].y }}", "{{ d[(1,2)].y }}", "{{ (1,2)[5].y }}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}", "{% set j = joiner(', ') %}{% for i in l %}{{ j() }}{{ i }}{% endfor %}", "{% set x = [] %}{% set _ = x.append(1) %}{{ x }}", "{% set x = {} %}{% set _ = x.update({'a': 1}) %}{{ x }}", "{% set x = [3, 1] %}{% set _ = x.sort() %}{{ x }}{{ x.pop() }}{{ x }}", "{% set x = [1] %}{% set _ = x.append(x) %}{{ x }}", "{% set x = [1] %}{% set _ = x.append(x) %}{{ x | tojson }}", "{% set x = [1, 2, 3] %}{% set _ = x.insert(1, 9) %}{{ x }}{% set _ = x.remove(9) %}{{ x.index(3) }}{% set _ = x.extend([5, 6]) %}{{ x }}{{ x.pop(0) }}", "{% set x = {'a': 1} %}{{ x.pop('a') }}{{ x.pop('a', 5) }}{{ x }}", "{% set x = {'a': 1} %}{{ x.pop('b') }}", "{% set x = {'a': 1, 'b': 2} %}{{ x.popitem() }}{{ x.copy() }}{{ x.setdefault('c', 3) }}{{ x }}",
    "{% for i in l %}\n  {{ i }}\n{% endfor %}\n", "<ul>\n  {% for i in l %}\n    <li>{{ i }}</li>\n  {% endfor %}\n</ul>\n", "<ul>\n  {%- for i in l %}\n    <li>{{ i }}</li>\n  {%- endfor %}\n</ul>\n", "\t{% if true %}\n\tx\n\t{% endif %}\n", "x {% if true %}\ny{% endif %}", "{{ 'a' }}  {% if true %} b {% endif %}\n", "{% if true %}{% endif %}  {% if true %}x{% endif %}\n", "{% if true %}\n\n\nx{% endif %}", "\n\n  {% set a = 1 %}\n\n{{ a }}", "{# a #}{# b #}\n\n{{ 1 }}", "{{ 1 }}\n{{ 2 }}\n", "{{ 1 }}\n\n", "{{ 'x\ny' }}", "{% set x = 'a\r\nb' %}{{ x|length }}", "a\rb\r\nc", "\u00a0{%- if true %}x{% endif %}", "x\x0c{%- if true %}x{% endif %}", " \x0b {% if true %}x{% endif %}",
    "{%- for m in users -%}\n{{- m.name -}}\n{%- if not loop.last -%}, {% endif -%}\n{%- endfor -%}\n", "{% for m in users %}{{ m['name'] | trim }}{{ '\\n' }}{% endfor %}", "{% set ns = namespace(found=false) %}{% for m in users %}{% if m.age == 31 and not ns.found %}{{ m.name }}{% set ns.found = true %}{% endif %}{% endfor %}", "{{ users | map(attribute='name') | join(', ') }}{{ '.' if users }}", "{%- macro r(items, d=0) -%}{%- for i in items -%}{{ '-' * d }}{{ i.v }}{{ r(i.c, d + 1) }}{%- endfor -%}{%- endmacro -%}{{ r(tree) }}", "{{ 'Question: ' ~ s ~ '\nAnswer:' }}", "{{s}}\nQuestion: {{e}}?\nAnswer:", "{{ l[0] }}{{ l|length }} {{ words[n - 5] }}", "{% set mapping = {'a': 'x', 'b': 'y'} %}{{ mapping['b'] }}{{ mapping[words[0]] }}", "{{ words.index('fig') }}", "{{ [words[0], words[1]] | join(' | ') }}", "{{ s.split(',')[1] | trim }}", "{{ s|replace(',', '')|lower|capitalize }}", "{% if s is string and s.startswith('Hello') %}yes{% endif %}", "{{ 'ABCD'[n - 5] }}", "{{ ['A', 'B'].index('B') }}", "{{ n|string + '/' + f|string }}", "{{ loop.first }}", "{% set _loop = 1 %}{{ _loop }}",
]


def environments():
    ext = ["jinja2.ext.loopcontrols"]
    e = {
        "default": jinja2.Environment(), "strict": jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True),
        "chainable": jinja2.Environment(undefined=jinja2.ChainableUndefined, trim_blocks=True), "debug": jinja2.Environment(undefined=jinja2.DebugUndefined, lstrip_blocks=True, extensions=ext),
    }
    return {**{k: v.from_string for k, v in e.items()}, "chat": _compile_jinja_template}


def random_templates(rng, count):
    """Chains of filters and tests over the variables, and nested blocks with white-space marks."""
    names = list(VARS) + ["x", "d.a", "users[0]", "users[0].name", "l[1:]", "s[2]"]
    filters = ["upper", "lower", "title", "trim", "length", "list", "first", "last", "sort", "join('-')", "string", "int", "float", "abs", "reverse", "default('q')", "tojson", "capitalize", "unique", "sum", "max", "min", "round(1)",
               "replace('a', 'b')", "truncate(6)", "batch(2)", "map('string')", "select('string')", "indent(1)", "center(9)", "wordcount", "escape", "striptags", "map(attribute='name')", "selectattr('on')", "items", "dictsort", "groupby('age')", "urlencode"]
    ops = [" + ", " * ", " - ", " / ", " // ", " % ", " ~ ", " == ", " != ", " < ", " >= ", " in ", " and ", " or "]

    def expression(depth):
        if depth == 0 or rng.random() < 0.3:
            return rng.choice(names + ["1", "2", "0", "'ab'", "-1.5", "none", "true", "[1, 'a']", "{'k': 2}", "(1, 2)"])
        kind = rng.random()
        if kind < 0.4:
            return expression(depth - 1) + rng.choice(ops) + expression(depth - 1)
        if kind < 0.8:
            return "(" + expression(depth - 1) + ") | " + " | ".join(rng.choice(filters) for _ in range(rng.randint(1, 3)))
        if kind < 0.9:
            return "(" + expression(depth - 1) + ") is " + rng.choice(["", "not "]) + rng.choice(["defined", "none", "string", "number", "odd", "iterable", "sequence", "mapping", "integer", "lower", "sameas none", "in l"])
        return "(" + expression(depth - 1) + " if " + expression(depth - 1) + " else " + expression(depth - 1) + ")"

    def block(depth):
        sign = lambda: rng.choice(["", "", "", "-", "+"])
        o, c = lambda: "{%" + sign(), lambda: rng.choice(["%}", "%}", "-%}", "+%}"])
        text = lambda: rng.choice(["", " ", "\n", "  \n", "a", " b\n", "\n\n  ", "\tc "])
        out = text()
        for _ in range(rng.randint(1, 3)):
            k = rng.random()
            if depth == 0 or k < 0.4:
                out += rng.choice(["{{", "{{", "{{-"]) + " " + rng.choice(["n", "s", "l", "x", "i"]) + " " + rng.choice(["}}", "-}}"])
            elif k < 0.6:
                out += f"{o()} if {rng.choice(['n', 'x', 'e', 'true'])} {c()}{block(depth - 1)}{o()} else {c()}{block(depth - 1)}{o()} endif {c()}"
            elif k < 0.8:
                out += f"{o()} for i in l {c()}{block(depth - 1)}{o()} endfor {c()}"
            elif k < 0.9:
                out += f"{o()} set {rng.choice('nxi')} = {expression(1)} {c()}"
            else:
                out += rng.choice(["{#", "{#-"]) + text() + rng.choice(["#}", "-#}"])
            out += text()
        return out

    for _ in range(count):
        yield "{{ " + expression(3) + " }}" if rng.random() < 0.6 else block(3)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", required=True)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--random", type=int, default=0)
    p.add_argument("--only-random", action="store_true")
    a = p.parse_args()
    rng = random.Random(a.seed)
    sources = [] if a.only_random else ["{{ " + e + " }}" for e in EXPR] + TEMPLATES
    sources += list(random_templates(rng, a.random))
    with open(a.out, "w") as f:
        f.write(json.dumps({"vars": VARS}) + "\n")
        for s in dict.fromkeys(sources):
            rows = {}
            for name, compile in environments().items():
                try:
                    out = compile(s).render(**json.loads(json.dumps(VARS)))
                    row = {"text": out}
                except RecursionError:
                    continue
                except Exception as e:
                    row = {"exception": type(e).__name__, "message": getattr(e, "message", None) or str(e)}
                out = json.dumps(row)
                if re.search(r"(?i) .t 0x[0-9a-f]+|<function|<built-in|<bound method|gener.tor object|reverseiterator|<class '", out):
                    continue
                rows.setdefault(out, []).append(name)
            for out, names in rows.items():
                f.write(json.dumps({"source": s, "environments": names, **json.loads(out)}) + "\n")


main()
