// Templates by table. The tables of results and errors hold what Go's text/template and Prometheus' functions document,
// confirmed line by line with promtool (Prometheus 2.42); what is newer than that stands apart.
import { describe, expect, test } from 'vitest';
import { AppError } from '../../core/errors.ts';
import {
  alertRoot,
  expandOrExplain,
  expandTemplate,
  parseAlertTemplate,
  TEMPLATE_QUERIES_MAX,
  TemplateQueries,
  type TemplateSample,
} from './expand.ts';

const LABELS: readonly (readonly [string, string])[] = [
  ['__name__', 'm'],
  ['a', '1'],
  ['b', 'x<y'],
];
const EXTERNAL_URL = 'http://ex.com/p';

const sample = (x: string, value: number): TemplateSample => ({
  labels: [
    ['__name__', 'n'],
    ['x', x],
  ],
  value,
});

async function answer(query: string): Promise<readonly TemplateSample[]> {
  switch (query) {
    case 'm':
      return [{ labels: LABELS, value: 1234567.5 }];
    case 'n':
      return [sample('10', 1), sample('2', 2), sample('1', 3)];
    case 'sort(n)':
      return [sample('10', 1), sample('2', 2), sample('1', 3)];
    case 'nothing':
      return [];
    case '5':
    case 'vector(5)':
      return [{ labels: [], value: 5 }];
    default:
      throw new AppError('bad_data', '1:5: parse error: unclosed left parenthesis');
  }
}

async function expand(text: string, value = 1234567.5, labels = LABELS): Promise<string> {
  const root = alertRoot({ labels, externalLabels: [['region', 'eu']], externalUrl: EXTERNAL_URL, value });
  const context = { nowMs: 1_500, externalUrl: EXTERNAL_URL, queries: new TemplateQueries(answer) };
  return (await expandOrExplain(parseAlertTemplate('A', text), root, context)).text;
}

/** Template → its expansion. */
const RESULTS: readonly (readonly [string, string])[] = [
  ['[{{ $labels.missing }}]', '[]'],
  ['{{ $value }} {{ printf "%v %s %d" $value "x" 3 }}', '1.2345675e+06 1.2345675e+06 x 3'],
  ['{{ $labels }}', 'map[__name__:m a:1 b:x<y]'],
  ['{{ . }}', '{map[__name__:m a:1 b:x<y] map[region:eu] http://ex.com/p 1.2345675e+06}'],
  ['{{ index $labels "zz" }}|{{ index $labels "a" }}', '|1'],
  ['{{ (args 1 2.5 "x") }} {{ (args 1).arg7 }}', 'map[arg0:1 arg1:2.5 arg2:x] <no value>'],
  [
    '{{ printf "%d" $value }} {{ printf "%s" 1 }} {{ printf "%q %x %X %t %5.2f|%-8s|%08.3f %+d %e %g" "a\\"b" "hi" 255 true 3.14159 "ab" 3.14159 5 123456.789 1e21 }}',
    '%!d(float64=1.2345675e+06) %!s(int=1) "a\\"b" 6869 FF true  3.14|ab      |0003.142 +5 1.234568e+05 1e+21',
  ],
  [
    "{{ 123456789.0 }} {{ 1e6 }} {{ 100000.0 }} {{ 0.00001 }} {{ 1 }} {{ 0x10 }} {{ 'a' }} {{ 1e3 }}",
    '1.23456789e+08 1e+06 100000 1e-05 1 16 97 1000',
  ],
  [
    '{{ with $x := 5 }}{{ $x }}{{ end }}{{ range $i, $e := query "m" }}{{ $i }}={{ $e.Value }} {{ .Labels.a }}{{ else }}none{{ end }}',
    '50=1.2345675e+06 1',
  ],
  [
    '{{ lt 1 2 }} {{ and 0 1 }} {{ or "" "x" }} {{ not 0 }} {{ len $labels }} {{ eq "a" "b" "a" }}',
    'true 0 x true 3 true',
  ],
  ['{{ range $k, $v := $labels }}{{ $k }}={{ $v }},{{ end }}', '__name__=m,a=1,b=x<y,'],
  [
    '{{ html "<a&\'\\">" }} {{ js "it\'s <b>" }} {{ urlquery "a b&c" }}',
    "&lt;a&amp;&#39;&#34;&gt; it\\'s \\u003Cb\\u003E a+b%26c",
  ],
  ['{{ slice "abcdef" 1 3 }} {{ print 1 2 "x" 3 }} {{ println "a" 1 }}', 'bc 1 2x3 a 1\n'],
  [
    '{{ toUpper "abc" }}{{ title "hello world" }} {{ match "a.*" "xab" }} {{ stripPort "h:80" }} {{ parseDuration "1h" }}',
    'ABCHello World true h 3600',
  ],
  [
    '{{ humanizeTimestamp 1435065584.128 }} {{ humanizeDuration 90061 }} {{ humanize1024 1048576 }} {{ humanizePercentage 0.1234567 }}',
    '2015-06-23 13:19:44.128 +0000 UTC 1d 1h 1m 1s 1Mi 12.35%',
  ],
  ['{{ define "y" }}Y{{ . }}{{ end }}{{ template "y" 5 }}', 'Y5'],
  [
    '{{ label "a" (query "m" | first) }} {{ query "m" | first | value }} {{ strvalue (query "m" | first) }}',
    '1 1.2345675e+06 ',
  ],
  ['{{ sortByLabel "a" (query "m") | len }}', '1'],
  ['{{ printf "%s" (query "m" | first) }}', '&{map[__name__:m a:1 b:x<y] %!s(float64=1.2345675e+06)}'],
  ['{{ $value | printf "%.2f" | printf "%10s|" }}', '1234567.50|'],
  ['{{ true }} {{ "q" | print }} {{ `raw` }} {{ $labels.a | len }}', 'true q raw 1'],
  ['{{ humanize $labels.a }}', '1'],
  ['{{ if $value }}t{{ else if 1 }}e{{ end }}{{- /* c */ -}}  x', 'tx'],
  [
    '{{ printf "%v %v %6.2f%% %s %v" nil true 12.345 $labels $value }}',
    '<nil> true  12.35% map[__name__:m a:1 b:x<y] 1.2345675e+06',
  ],
  [
    '{{ printf "%6d|%-6d|%06d|%x|%o|%b|%c|%U" 42 42 42 42 42 42 42 42 }}',
    '    42|42    |000042|2a|52|101010|*|U+002A',
  ],
  [
    '{{ printf "%s %d" "a" }} {{ printf "%s" "a" "b" 3 }} {{ printf "%z" 1 }} {{ printf "%" }} {{ printf "%!" }}',
    'a %!d(MISSING) a%!(EXTRA string=b, int=3) %!z(int=1) %!(NOVERB) %!!(MISSING)',
  ],
  [
    '{{ printf "%[2]s %[1]s" "a" "b" }} {{ printf "%*d" 5 42 }} {{ printf "%.3s|%10.2s|" "abcdef" "xyz" }}',
    'b a    42 abc|        xy|',
  ],
  ['{{ printf "%.0f %.0f %.0f %.1f %.2f" 0.5 1.5 2.5 0.25 1.005 }}', '0 2 2 0.2 1.00'],
  [
    '{{ printf "%.3g %.10g %g %G %E" 1234.5678 1234.5678 0.000001234 1e-10 12345.678 }}',
    '1.23e+03 1234.5678 1.234e-06 1E-10 1.234568E+04',
  ],
  ['{{ printf "%t %v %v" true false nil }}', 'true false <nil>'],
  [
    '{{ humanize 0 }} {{ humanize 1000 }} {{ humanize 999.95 }} {{ humanize 0.001234 }} {{ humanize 1.5e25 }} {{ humanize -12345 }} {{ humanize 999999 }}',
    '0 1k 1000 1.234m 15Y -12.35k 1000k',
  ],
  [
    '{{ humanize1024 0.5 }} {{ humanize1024 1023 }} {{ humanize1024 1536 }} {{ humanize1024 -2048 }}',
    '0.5 1023 1.5ki -2ki',
  ],
  [
    '{{ humanizeDuration 0 }} {{ humanizeDuration 0.0012 }} {{ humanizeDuration 59.9999 }} {{ humanizeDuration 3600 }} {{ humanizeDuration -90 }} {{ humanizeDuration 1e-9 }}',
    '0s 1.2ms 60s 1h 0m 0s -1m 30s 1ns',
  ],
  [
    '{{ humanizePercentage 0.5 }} {{ humanizePercentage 1.23456 }} {{ humanizePercentage 0.00001 }}',
    '50% 123.5% 0.001%',
  ],
  ['{{ title "hello WORLD foo_bar it\'s a-b" }} {{ toUpper "äß" }}', "Hello WORLD Foo_bar It'S A-B Äß"],
  [
    // biome-ignore lint/suspicious/noTemplateCurlyInString: Go's syntax for groups.
    '{{ match "^a.c$" "abc" }} {{ reReplaceAll "(\\\\w+)@(\\\\w+)" "$2 at ${1}x $1x" "joe@home" }}',
    'true home at joex ',
  ],
  [
    '{{ stripPort "[::1]:80" }} {{ stripPort "a:b:c" }} {{ stripPort "host" }} {{ stripDomain "a.b.c:80" }} {{ stripDomain "10.0.0.1:80" }} {{ stripDomain "x.y" }} {{ stripDomain "[::1]:9" }}',
    '::1 a:b:c host a:80 10.0.0.1:80 x [::1]:9',
  ],
  ['{{ with query "m" }}{{ . | first | label "b" }}{{ end }}', 'x<y'],
  ['{{ range query "sort(n)" }}{{ .Labels.x }}:{{ .Value }};{{ end }}', '10:1;2:2;1:3;'],
  [
    '{{ range $i, $s := sortByLabel "x" (query "n") }}{{ if $i }}, {{ end }}{{ $s.Labels.x }}{{ end }}',
    '1, 10, 2',
  ],
  ['{{ define "t" }}[{{ .arg0 }}|{{ .arg1 }}]{{ end }}{{ template "t" (args "p" 2) }}', '[p|2]'],
  ['{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ $y }}{{ end }}{{ $x }}', '32'],
  ['{{ $v := printf "%.1f" $value }}{{ if eq $v "1234567.5" }}same{{ end }}', 'same'],
  ['a  {{- 1 -}}  b {{ 2 }} c {{- /* hidden */ -}} d', 'a1b 2 cd'],
  ['{{ if and (gt $value 1.0) (lt $value 1e9) }}in{{ else }}out{{ end }}', 'in'],
  [
    '{{ len "äb" }} {{ index "abc" 1 }} {{ slice "abc" 1 }} {{ not "" }} {{ or 0 "" "z" }} {{ and 1 "" 5 }}',
    '3 98 bc true z ',
  ],
  ['{{ print "a" "b" 1 2 true "c" nil }} {{ println }}', 'ab1 2 truec<nil> \n'],
  [
    '{{ 0.1 }} {{ 1.5e300 }} {{ -0.0 }} {{ 5e-324 }} {{ 1e20 }} {{ 12345678 }} {{ 0b11 }} {{ 0o17 }} {{ 1_000 }}',
    '0.1 1.5e+300 -0 5e-324 1e+20 12345678 3 15 1000',
  ],
  [
    '{{ `a"b` | printf "%q" }} {{ printf "%q" "é\\n\\x01" }} {{ printf "%x" "hi" }} {{ printf "% x" "hi" }} {{ printf "%#x" 255 }} {{ printf "%q" 65 }}',
    '"a\\"b" "é\\n\\x01" 6869 68 69 0xff \'A\'',
  ],
  [
    '{{ (query "m" | first).Value }} {{ (first (query "m")).Labels.a }} {{ (index (query "m") 0).Labels.b }}',
    '1.2345675e+06 1 x<y',
  ],
  [
    '{{ $labels.instance }}-{{ .Labels.a }}-{{ .ExternalURL }}-{{ $externalLabels.foo }}',
    '-1-http://ex.com/p-',
  ],
  [
    '{{ range $k, $v := .Labels }}{{ $k }}{{ else }}none{{ end }}{{ range query "nothing" }}x{{ else }}none{{ end }}',
    '__name__abnone',
  ],
  [
    '{{ ge $value 1234567.5 }} {{ ne "a" "b" }} {{ le 1 1 }} {{ eq $labels.a "1" "2" }}',
    'true true true true',
  ],
  ['{{ eq nil nil }}', 'true'],
  [
    '{{ range $i, $e := query "sort(n)" }}{{ if eq $i 1 }}{{ continue }}{{ end }}{{ $i }}{{ end }}{{ range query "n" }}{{ break }}{{ end }}',
    '02',
  ],
  ['{{ block "bb" $value }}<{{ . }}>{{ end }}', '<1.2345675e+06>'],
  [
    '{{ with $labels.nope }}y{{ else }}n{{ end }} {{ if $labels.nope }}y{{ else if $labels.a }}a{{ else }}n{{ end }}',
    'n a',
  ],
  ['{{ "x" | len | printf "%03d" }} {{ query "m" | len }} {{ (len $labels) }}', '001 1 3'],
  ['{{ js "é\\n=&" }} {{ html "x" 1 }} {{ urlquery "é/" "x" }}', 'é\\u000A\\u003D\\u0026 x1 %C3%A9%2Fx'],
  [
    '{{ printf "%v %+v %#v" $labels.a "x" "y" }} {{ printf "%5t|%-7.3f|%+.2e|% d" true 3.14159 12345.678 7 }}',
    '1 x "y"  true|3.142  |+1.23e+04| 7',
  ],
  [
    '{{ printf "%d %s" (len "abc") $labels }} {{ printf "%T %T %T %T" 1 1.5 "x" $labels }}',
    '3 map[__name__:m a:1 b:x<y] int float64 string map[string]string',
  ],
];

/** Template → place and message of its error. */
const ERRORS: readonly (readonly [string, string])[] = [
  [
    '{{ first (query "nothing") }}',
    '1:115: executing "__alert_A" at <first (query "nothing")>: error calling first: first() called on vector with no elements',
  ],
  [
    '{{ .Labels.a.b }}',
    '1:122: executing "__alert_A" at <.Labels.a.b>: can\'t evaluate field b in type string',
  ],
  [
    '{{ reReplaceAll "(" "" "x" }}',
    '1:115: executing "__alert_A" at <reReplaceAll "(" "" "x">: error calling reReplaceAll: regexp: Compile(`(`): error parsing regexp: missing closing ): `(`',
  ],
  [
    '{{ humanize "abc" }}',
    '1:115: executing "__alert_A" at <humanize "abc">: error calling humanize: strconv.ParseFloat: parsing "abc": invalid syntax',
  ],
  [
    '{{ eq 1 1.0 }}',
    '1:115: executing "__alert_A" at <eq 1 1.0>: error calling eq: incompatible types for comparison',
  ],
  [
    '{{ first (query "bad(") }}',
    '1:122: executing "__alert_A" at <query "bad(">: error calling query: 1:5: parse error: unclosed left parenthesis',
  ],
  ['{{ len 3 }}', '1:115: executing "__alert_A" at <len 3>: error calling len: len of type int'],
  ['{{ toLower 5 }}', '1:123: executing "__alert_A" at <5>: expected string; found 5'],
  [
    '{{ index (query "m") 9 }}',
    '1:115: executing "__alert_A" at <index (query "m") 9>: error calling index: index out of range: 9',
  ],
  [
    '{{ lt 1 "a" }}',
    '1:115: executing "__alert_A" at <lt 1 "a">: error calling lt: incompatible types for comparison',
  ],
  [
    '{{ $labels.a.b }}',
    '1:122: executing "__alert_A" at <$labels.a.b>: can\'t evaluate field b in type string',
  ],
  [
    '{{ print nil }} {{ safeHtml "<b>" }} {{ call 1 }}',
    '1:152: executing "__alert_A" at <call 1>: error calling call: non-function of type int',
  ],
  [
    '{{ humanizeTimestamp 0 }} {{ humanizeTimestamp -1.5 }} {{ humanizeTimestamp 1e20 }}',
    '1:170: executing "__alert_A" at <humanizeTimestamp 1e20>: error calling humanizeTimestamp: 1e+20 cannot be represented as a nanoseconds timestamp since it overflows int64',
  ],
  [
    '{{ if gt $value 1 }}x{{ end }}',
    '1:118: executing "__alert_A" at <gt $value 1>: error calling gt: incompatible types for comparison',
  ],
  [
    '{{ range $value }}x{{ end }}',
    '1:121: executing "__alert_A" at <$value>: range can\'t iterate over 1.2345675e+06',
  ],
  [
    '{{ humanize (query "m") }}',
    '1:115: executing "__alert_A" at <humanize (query "m")>: error calling humanize: can\'t convert template.queryResult to float',
  ],
  [
    '{{ humanize }}',
    '1:115: executing "__alert_A" at <humanize>: wrong number of args for humanize: want 1 got 0',
  ],
  [
    '{{ humanize 1 2 }}',
    '1:115: executing "__alert_A" at <humanize>: wrong number of args for humanize: want 1 got 2',
  ],
  [
    '{{ value (query "m") }}',
    '1:128: executing "__alert_A" at <"m">: wrong type for value; expected *template.sample; got template.queryResult',
  ],
  [
    '{{ label "a" }}',
    '1:115: executing "__alert_A" at <label>: wrong number of args for label: want 2 got 1',
  ],
  ['{{ $labels.a 5 }}', '1:122: executing "__alert_A" at <$labels.a>: a is not a method but has arguments'],
  ['{{ 5 | $labels.a }}', '1:126: executing "__alert_A" at <$labels.a>: a is not a method but has arguments'],
  [
    '{{ .Labels 5 }}',
    '1:115: executing "__alert_A" at <.Labels>: Labels has arguments but cannot be invoked as function',
  ],
  [
    '{{ index $labels 5 }} ',
    '1:115: executing "__alert_A" at <index $labels 5>: error calling index: value has type int; should be string',
  ],
  [
    '{{ index $labels.a "x" }}',
    '1:115: executing "__alert_A" at <index $labels.a "x">: error calling index: cannot index slice/array with type string',
  ],
  ['{{ printf 5 }}', '1:122: executing "__alert_A" at <5>: expected string; found 5'],
  [
    '{{ template "nope" }}',
    '1:124: executing "__alert_A" at <{{template "nope"}}>: template "nope" not defined',
  ],
  [
    'line1\n{{ humanize "x" }}',
    '2:3: executing "__alert_A" at <humanize "x">: error calling humanize: strconv.ParseFloat: parsing "x": invalid syntax',
  ],
  [
    '{{ eq $labels $labels }}',
    '1:115: executing "__alert_A" at <eq $labels $labels>: error calling eq: non-comparable type map[__name__:m a:1 b:x<y]: map[string]string',
  ],
  ['{{ nil }}', '1:115: executing "__alert_A" at <nil>: nil is not a command'],
  [
    '{{ parseDuration "1d2h" }} {{ parseDuration "x" }}',
    '1:142: executing "__alert_A" at <parseDuration "x">: error calling parseDuration: not a valid duration string: "x"',
  ],
  [
    '{{ slice "abc" 2 1 }}',
    '1:115: executing "__alert_A" at <slice "abc" 2 1>: error calling slice: invalid slice index: 2 > 1',
  ],
  [
    '{{ slice "abc" 5 }}',
    '1:115: executing "__alert_A" at <slice "abc" 5>: error calling slice: index out of range: 5',
  ],
  ['{{ call nil }}', '1:115: executing "__alert_A" at <call nil>: error calling call: call of nil'],
];

/** Template → expansion, for what came after Prometheus 2.42. */
const NEWER: readonly (readonly [string, string])[] = [
  ['{{ now }} {{ (toTime now).Unix }}', '1.5 1'],
  ['{{ toTime 1435065584.128 }}', '2015-06-23 13:19:44.128 +0000 UTC'],
  [
    '{{ (toTime 1435065584).Format "2006-01-02T15:04:05Z07:00 Mon Jan _2 3:04PM" }}',
    '2015-06-23T13:19:44Z Tue Jun 23 1:19PM',
  ],
  ['{{ (1435065584 | toTime).Year }}/{{ (toTime 1435065584).YearDay }}', '2015/174'],
  ['{{ toDuration 3661.5 }} {{ toDuration 0.25 }} {{ toDuration 0 }}', '1h1m1.5s 250ms 0s'],
  ['{{ (toDuration 90).Minutes }} {{ humanizeDuration (toDuration 90) }}', '1.5 1m 30s'],
  ['{{ urlQueryEscape "a b/é" }}', 'a+b%2F%C3%A9'],
  [
    '{{ externalURL }}{{ pathPrefix }} {{ $externalURL }} {{ $externalLabels.region }}',
    'http://ex.com/p/p http://ex.com/p eu',
  ],
  [
    '{{ graphLink "up{a=\\"b\\"}" }} {{ tableLink "up" }}',
    '/graph?g0.expr=up%7Ba%3D%22b%22%7D&g0.tab=0 /graph?g0.expr=up&g0.tab=1',
  ],
  ['{{ with "" }}a{{ else with "b" }}{{ . }}{{ else }}c{{ end }}', 'b'],
  ['{{ range $i := 3 }}{{ $i }}{{ end }}', '012'],
  ['{{ define "t" }}<{{ . }}>{{ end }}{{ tmpl "t" 5 | len }}', '3'],
  ['{{ strvalue (query "m" | first) }}{{ safeHtml "<b>" }}', '<b>'],
];

describe('expansion', () => {
  test.each([...RESULTS, ...NEWER])('%s', async (text, expected) => {
    expect(await expand(text)).toBe(expected);
  });

  test.each(ERRORS)('%s explains its error', async (text, expected) => {
    expect(await expand(text)).toBe(
      `<error expanding template: error executing template __alert_A: template: __alert_A:${expected}>`,
    );
  });

  test('a field that the data does not have', async () => {
    expect(await expand('{{ .Foo }}')).toContain(
      "at <.Foo>: can't evaluate field Foo in type struct { Labels map[string]string; ",
    );
  });

  test.each([
    [Number.NaN, 'NaN NaN NaN'],
    [Number.POSITIVE_INFINITY, '+Inf +Inf +Inf'],
    [Number.NEGATIVE_INFINITY, '-Inf -Inf -Inf'],
    [-0, '-0 -0 -0s'],
    [0.1, '0.1 100m 100ms'],
    // The smallest double is 4.94…e-324; eight steps of a thousand are its prefixes.
    [5e-324, '5e-324 4.941e-300y 4.941e-300ys'],
  ])('numbers at the edge: %d', async (value, expected) => {
    const text = '{{ $value }} {{ humanize $value }} {{ humanizeDuration $value }}';
    expect(await expand(text, value)).toBe(expected);
  });

  test('label names that objects have are data', async () => {
    const labels = [
      ['__proto__', 'p'],
      ['constructor', 'c'],
    ] as const;
    expect(
      await expand('{{ $labels.__proto__ }}{{ .Labels.constructor }}{{ $labels.toString }}', 1, labels),
    ).toBe('pc');
    expect(await expand('{{ $labels }}', 1, labels)).toBe('map[__proto__:p constructor:c]');
  });
});

/** Template → why it does not parse. */
const REFUSED: readonly (readonly [string, string])[] = [
  ['{{ foo }}', 'function "foo" not defined'],
  ['{{ $x }}', 'undefined variable "$x"'],
  ['{{ if }}x{{ end }}', 'missing value for if'],
  ['{{ if 1 }}', 'unexpected EOF'],
  ['{{ end }}', 'unexpected {{end}}'],
  ['{{ .Labels.a', 'unclosed action'],
  ['{{ "abc }}', 'unterminated quoted string'],
  ['{{ 1a }}', 'bad number syntax: "1a"'],
  ['{{ } }}', 'unexpected "}" in command'],
  ['{{ | humanize }}', 'unexpected "|" in command'],
  ['{{ range $a, $b, $c := 1 }}{{end}}', 'too many declarations in range'],
  ['{{ /* c }}', 'unexpected "/" in command'],
  ['{{/* c */ x}}', 'comment ends before closing delimiter'],
  ['{{ $labels.foo-bar }}', "bad character U+002D '-'"],
  ['{{ (humanize 1 }}', 'unclosed left paren'],
  ['{{ 1 ) }}', 'unexpected ")" in command'],
  ['{{ template foo }}', 'unexpected "foo" in template clause'],
  ['{{ define "x" }}', 'unexpected EOF'],
  ['{{ break }}', '{{break}} outside {{range}}'],
  ['{{ %d }}', 'unexpected "%" in command'],
  ['{{ else }}', 'unexpected {{else}}'],
  ['{{ $value := }}', 'missing value for command'],
  ["{{ 'ab' }}", "malformed character constant: 'ab'"],
  ['{{ "a\\qb" }}', 'invalid syntax'],
  ['{{ 99999999999999999999 }}', 'integer overflow: "99999999999999999999"'],
  ['{{ true.x }}', 'unexpected . after term "true"'],
  ['{{ if $x := 1 }}{{end}}{{ $x }}', 'undefined variable "$x"'],
  ['{{ range break }}{{end}}', 'unexpected <break> in range'],
  ['a {{- "x" -}} b {{-"x"}}', 'illegal number syntax: "-"'],
  ['{{ humanize(5) }}', 'unexpected "(" in operand'],
  ['{{ ` }}', 'unterminated raw quoted string'],
  ['{{ &x }}', 'unexpected "&" in command'],
  ['{{ a.b }}', 'function "a" not defined'],
  ['{{ nil.x }}', 'unexpected . after term "nil"'],
  ['{{ 1,2 }}', 'unexpected "," in operand'],
  ['{{ $a, $b := 1 }}', 'too many declarations in command'],
];

describe('parsing', () => {
  test.each(REFUSED)('%s is refused', (text, reason) => {
    expect(() => parseAlertTemplate('A', text)).toThrow(
      new AppError('bad_data', `template: __alert_A:1: ${reason}`),
    );
  });

  test('the line of the error', () => {
    expect(() => parseAlertTemplate('A', 'one\ntwo {{ foo }}')).toThrow(
      'template: __alert_A:2: function "foo" not defined',
    );
  });

  test('nesting is bounded', () => {
    const deep = '{{ if 1 }}'.repeat(5000) + '{{ end }}'.repeat(5000);
    expect(() => parseAlertTemplate('A', deep)).toThrow('nested more than 100 deep');
    expect(() => parseAlertTemplate('A', `{{ ${'('.repeat(5000)}1${')'.repeat(5000)} }}`)).toThrow(
      'nested more than 100 deep',
    );
    const elseIfs = `{{ if 0 }}${'{{ else if 0 }}'.repeat(5000)}{{ end }}`;
    expect(() => parseAlertTemplate('A', elseIfs)).toThrow('nested more than 100 deep');
    expect(() => parseAlertTemplate('A', `{{ "${'x'.repeat(300_000)}" }}`)).toThrow('is longer than 262144');
  });
});

describe('bounds', () => {
  test('output', async () => {
    const text = `{{ range 1000000 }}${'x'.repeat(1000)}{{ end }}`;
    expect(await expand(text)).toContain('output is longer than 1048576 characters');
  });

  test('steps', async () => {
    expect(await expand('{{ range 100000000000 }}{{ end }}')).toContain('more than 1000000 steps');
    expect(await expand('{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}')).toContain(
      'more than 1000000 steps',
    );
  });

  test('templates that call themselves', async () => {
    expect(await expand('{{ define "t" }}{{ template "t" . }}{{ end }}{{ template "t" . }}')).toContain(
      'exceeded maximum template depth (100)',
    );
    expect(await expand('{{ define "t" }}{{ tmpl "t" . }}{{ end }}{{ tmpl "t" . }}')).toContain(
      'exceeded maximum template depth (100)',
    );
  });

  test('width and precision', async () => {
    expect(await expand('{{ printf "%999999999d" 1 | len }}')).toBe('10000');
    expect(await expand('{{ printf "%.999999999f" 1.5 | len }}')).toBe('10002');
  });

  test('a long search does not hang', async () => {
    const text = `{{ reReplaceAll "(a+)+$" "" "${'a'.repeat(5000)}b" | len }}`;
    expect(await expand(text)).toBe('5001');
  });

  test('queries', async () => {
    const queries = new TemplateQueries(async () => []);
    for (let i = 0; i < TEMPLATE_QUERIES_MAX; i++) await queries.fetch(`q${i}`);
    await expect(queries.fetch('one more')).rejects.toThrow('templates ask more than 1000 queries');
  });

  test('each query is asked once in an evaluation', async () => {
    const asked: string[] = [];
    const queries = new TemplateQueries(async (query) => {
      asked.push(query);
      return [{ labels: [], value: asked.length }];
    });
    const template = parseAlertTemplate(
      'A',
      '{{ query "x" | first | value }}{{ query "y" | first | value }}{{ query "x" | first | value }}',
    );
    const root = alertRoot({ labels: [], externalLabels: [], externalUrl: '', value: 1 });
    const context = { nowMs: 0, externalUrl: '', queries };
    expect(await expandTemplate(template, root, context)).toBe('121');
    expect(await expandTemplate(template, root, context)).toBe('121');
    expect(asked).toEqual(['x', 'y']);
  });
});
